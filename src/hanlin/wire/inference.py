"""Bodies of the prediction API."""

from __future__ import annotations

import msgspec


class ClassifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v1/classify."""

    model: str
    input: str | list[str]
    truncate: bool = False
    user: str | None = None


class Classification(msgspec.Struct, frozen=True):
    """The judgement of one text."""

    index: int
    label: str
    score: float
    probabilities: dict[str, float]


class Usage(msgspec.Struct, frozen=True):
    """What a request cost."""

    texts: int
    tokens: int


class ClassifyReply(msgspec.Struct, frozen=True):
    """Reply of POST /v1/classify."""

    model: str
    version: int
    digest: str
    data: list[Classification]
    usage: Usage


class ModelEntry(msgspec.Struct, frozen=True):
    """One deployment in the list of GET /v1/models, in OpenAI's shape."""

    id: str
    created: int
    owned_by: str
    version: int
    digest: str
    object: str = "model"


class ModelList(msgspec.Struct, frozen=True):
    """Reply of GET /v1/models."""

    data: list[ModelEntry]
    object: str = "list"
