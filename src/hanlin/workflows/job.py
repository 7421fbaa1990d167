"""The job's side: run one function for one task and say on standard output how it goes."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from hanlin.domain import Reporter, Task
from hanlin.workflows.events import (
    ErrorEvent,
    JobEvent,
    LogEvent,
    MetricEvent,
    ProgressEvent,
    ResultEvent,
    encode_event,
)
from hanlin.workflows.failures import Failure, guarded
from hanlin.workflows.folder import TaskFolder

LONGEST_EVENT = 256 * 1024
PROGRESS_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """
    What a job function works with.

    *workdir* is the same on every attempt of the task: keep checkpoints there and go on from them. The function must
    expect to be killed at any instant.
    """

    task: Task
    workdir: Path
    reporter: Reporter


JobFunction: TypeAlias = Callable[[JobContext], Mapping[str, Any]]


class EventWriter:
    """A Reporter that writes each call as one line to a file descriptor; safe to share between threads."""

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.time) -> None:
        self._descriptor, self._clock, self._lock = descriptor, clock, threading.Lock()
        self._next_progress_at = -math.inf

    def progress(self, done: float, total: float, unit: str, message: str = "") -> None:
        """Say how far the work is; at most ten a second get through, and the last one."""
        now = self._clock()
        if now >= self._next_progress_at or done >= total > 0:
            self._next_progress_at = now + PROGRESS_PAUSE_S
            self.write(ProgressEvent(now, float(done), float(total), unit, message))

    def metric(self, name: str, step: int, value: float) -> None:
        """Add one point to a series."""
        number = float(value)
        self.write(MetricEvent(self._clock(), name, int(step), number if math.isfinite(number) else None))

    def log(self, message: str, **fields: object) -> None:
        """Write one line to the log; a line past 256 KiB loses its fields."""
        event = LogEvent(self._clock(), message, dict(fields))
        if len(encode_event(event)) > LONGEST_EVENT:
            event = LogEvent(self._clock(), message[:1000], {"left_out": "the line was too long"})
        self.write(event)

    def write(self, event: JobEvent) -> None:
        """Write *event* as one line."""
        line = memoryview(encode_event(event))
        with self._lock:
            while line:
                line = line[os.write(self._descriptor, line) :]


def run_job(function: JobFunction, task: Task, folder: Path, *, out: EventWriter | None = None) -> int:
    """
    Run *function* for *task* in the task's *folder* and return the exit status for the process.

    Without *out*, standard output becomes the event channel and everything else that prints goes to standard error.
    A result is kept in the folder: when a worker died before it could apply it, the next attempt says it again
    without doing the work twice. Whatever the function raises becomes an error event; nothing escapes.
    """
    writer = out or EventWriter(_claim_standard_output())
    place = TaskFolder(folder)
    outcome = guarded(lambda: _kept_result(place) or _result(function, task, place, writer))
    if isinstance(outcome, Failure):
        if outcome.trace:
            writer.log("the job raised an unexpected error", traceback=outcome.trace)
        writer.write(
            ErrorEvent(time.time(), outcome.code, outcome.message, outcome.hint, outcome.param, outcome.is_retryable)
        )
        return 1
    writer.write(outcome)
    return 0


def _claim_standard_output() -> int:
    events = os.dup(1)
    os.dup2(2, 1)
    return events


def _kept_result(place: TaskFolder) -> ResultEvent | None:
    if not place.result.exists():
        return None
    return msgspec.json.decode(place.result.read_bytes(), type=ResultEvent)


def _result(function: JobFunction, task: Task, place: TaskFolder, writer: EventWriter) -> ResultEvent:
    place.create()
    value = function(JobContext(task=task, workdir=place.work, reporter=writer))
    event = ResultEvent(time.time(), dict(value))
    unfinished = place.result.with_suffix(".part")
    with unfinished.open("wb") as file:
        file.write(encode_event(event))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(place.result)
    return event
