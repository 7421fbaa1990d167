"""What a job says on its standard output: one JSON object a line."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec


class ProgressEvent(msgspec.Struct, frozen=True, tag_field="type", tag="progress"):
    """*done* of *total* are behind us."""

    at: float
    done: float
    total: float
    unit: str
    message: str = ""


class MetricEvent(msgspec.Struct, frozen=True, tag_field="type", tag="metric"):
    """One point of a series; the value is null where it was not a finite number."""

    at: float
    name: str
    step: int
    value: float | None


class LogEvent(msgspec.Struct, frozen=True, tag_field="type", tag="log"):
    """One line for the log."""

    at: float
    message: str
    fields: dict[str, Any] = {}


class ResultEvent(msgspec.Struct, frozen=True, tag_field="type", tag="result"):
    """The job is done and this came of it."""

    at: float
    value: dict[str, Any]


class ErrorEvent(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """The job gave up."""

    at: float
    code: str
    message: str
    hint: str = ""
    param: str | None = None
    is_retryable: bool = False


JobEvent: TypeAlias = ProgressEvent | MetricEvent | LogEvent | ResultEvent | ErrorEvent

_encoder = msgspec.json.Encoder(enc_hook=str)
_decoder: msgspec.json.Decoder[JobEvent] = msgspec.json.Decoder(JobEvent)


def encode_event(event: JobEvent) -> bytes:
    """Return *event* as one line; values that JSON does not know become text."""
    return _encoder.encode(event) + b"\n"


def decode_event(line: bytes) -> JobEvent | None:
    """Return the event of *line*, or None for anything a library printed there."""
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError:
        return None
