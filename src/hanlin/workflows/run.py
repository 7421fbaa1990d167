"""One attempt at one task: start its job, listen to it, and say what became of it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from hanlin.domain import StorageFullError, Task
from hanlin.workflows.events import (
    ErrorEvent,
    JobEvent,
    LogEvent,
    MetricEvent,
    ProgressEvent,
    ResultEvent,
    decode_event,
)
from hanlin.workflows.failures import Failure
from hanlin.workflows.folder import Journal, TaskFolder
from hanlin.workflows.pace import Pace
from hanlin.workflows.process import JobProcess
from hanlin.workflows.queue import TaskQueue, utc_now

PROGRESS_PAUSE_S = 0.5
LISTEN_ON_S = 2.0


@dataclass(frozen=True, slots=True)
class Finished:
    """The job returned a result."""

    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lost:
    """The task was cancelled or taken over; nothing may be written about it any more."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The worker stops; another one goes on."""


Outcome: TypeAlias = Finished | Failure | Lost | Interrupted


class JobRun:
    """Watches one job from start to end; see perform."""

    def __init__(self, task: Task, folder: TaskFolder, queue: TaskQueue, holder: str, journal: Journal) -> None:
        self._task, self._folder, self._queue, self._holder, self._journal = task, folder, queue, holder, journal
        self._pace = Pace()
        self._shown: dict[str, Any] | None = None
        self._end: ResultEvent | ErrorEvent | None = None
        self._renew_at = self._progress_at = 0.0

    async def perform(
        self,
        argv: Sequence[str],
        *,
        stopping: asyncio.Event,
        environ: Mapping[str, str],
        niceness: int,
        poll_s: float,
        grace_s: float,
    ) -> Outcome:
        """Run the job to its end, or until the task is lost or *stopping* is set; no process of it lives afterwards."""
        try:
            process = await JobProcess.start(argv, self._folder, niceness=niceness, environ=environ)
        except OSError as error:
            return _not_started(error)
        self._journal.log(utc_now(), "attempt started", {"attempt": self._task.attempt, "of": self._task.max_attempts})
        listening = asyncio.create_task(self._listen(process))
        exiting = asyncio.create_task(process.wait())
        try:
            outcome = await self._watch(exiting, stopping, poll_s)
            if outcome is not None:
                await process.stop(grace_s)
        finally:
            process.kill()
            status = await exiting
            await _finish(listening)
        if outcome is not None:
            return outcome
        self._progress_at = 0.0
        await asyncio.to_thread(self._keep)
        return self._judge(status)

    async def _listen(self, process: JobProcess) -> None:
        while line := await process.read_line():
            event = decode_event(line)
            if event is None:
                self._journal.log(utc_now(), line.decode("utf-8", "replace").rstrip()[:1000])
            else:
                self._take(event)

    def _take(self, event: JobEvent) -> None:
        match event:
            case ProgressEvent():
                self._shown = self._pace.seen(event)
            case MetricEvent():
                self._journal.metric(event.name, event.step, event.value)
            case LogEvent():
                self._journal.log(datetime.fromtimestamp(event.at, UTC), event.message, event.fields)
            case ResultEvent() | ErrorEvent():
                self._end = event

    async def _watch(self, exiting: asyncio.Task[int], stopping: asyncio.Event, poll_s: float) -> Outcome | None:
        while not exiting.done():
            if stopping.is_set():
                return Interrupted()
            if not await asyncio.to_thread(self._keep):
                return Lost()
            await asyncio.wait({exiting}, timeout=poll_s)
        return None

    def _keep(self) -> bool:
        """Renew what is due, and say whether the task is still ours."""
        now, shown = time.monotonic(), self._shown
        try:
            if shown is not None and now >= self._progress_at:
                self._progress_at, self._shown = now + PROGRESS_PAUSE_S, None
                self._renew_at = now + self._queue.lease_s / 3
                return self._queue.renew(self._task, self._holder, shown)
            if now >= self._renew_at:
                self._renew_at = now + self._queue.lease_s / 3
                return self._queue.renew(self._task, self._holder)
        except StorageFullError:
            return True  # nobody else can take the task over either
        return self._queue.is_held(self._task)

    def _judge(self, status: int) -> Outcome:
        match self._end:
            case ResultEvent(value=value):
                return Finished(value)
            case ErrorEvent() as error:
                return Failure(
                    code=error.code,
                    message=error.message,
                    hint=error.hint,
                    param=error.param,
                    is_retryable=error.is_retryable,
                )
            case _:
                return _crash(status)


async def _finish(listening: asyncio.Task[None]) -> None:
    """Let what was written be read; a process that left the session may keep the pipe open for ever."""
    await asyncio.wait({listening}, timeout=LISTEN_ON_S)
    listening.cancel()


def _not_started(error: OSError) -> Failure:
    return Failure(
        code="job_not_started",
        message=f"the job could not be started: {error.strerror or error}",
        hint="the log of the worker has the details",
        is_retryable=True,
    )


def _crash(status: int) -> Failure:
    if status == -signal.SIGKILL:
        how, hint = "was killed (SIGKILL)", "when memory ran out, use a smaller model or shorter texts, then retry"
    elif status < 0:
        how, hint = f"was ended by {signal.Signals(-status).name}", "the task's log has its last output"
    else:
        how, hint = f"ended with status {status} and no result", "the task's log has its last output"
    return Failure(code="job_crashed", message=f"the job {how}", hint=hint, is_retryable=True)
