"""The worker: takes tasks from the queue and has each done by a process of its own."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hanlin.domain import StorageFullError, Task, TaskId, TaskState
from hanlin.workflows.failures import Failure, guarded
from hanlin.workflows.folder import Journal, TaskFolder
from hanlin.workflows.holders import new_holder
from hanlin.workflows.queue import Apply, TaskQueue, utc_now
from hanlin.workflows.run import Finished, Interrupted, JobRun, Lost, Outcome

LAST_OUTPUT_BYTES = 4000

log = logging.getLogger(__name__)


class Worker:
    """
    Runs up to *slots* tasks at a time, each as the command that *argv* gives for it.

    *apply* turns a job's result into changes of the registry; it runs in the transaction that marks the task
    succeeded, so exactly once. When the worker dies its jobs die with it, and the next worker resumes their tasks.
    """

    def __init__(
        self,
        queue: TaskQueue,
        folder: Path,
        *,
        argv: Callable[[Task], Sequence[str]],
        apply: Apply,
        slots: int = 1,
        niceness: int = 10,
        poll_s: float = 0.2,
        grace_s: float = 5.0,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._queue, self._folder, self._argv, self._apply = queue, folder, argv, apply
        self._slots, self._niceness, self._poll_s, self._grace_s = slots, niceness, poll_s, grace_s
        self._environ = dict(environ or {})
        self._holder = new_holder()
        self._running: set[TaskId] = set()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Take no more tasks and give those that run back to the queue; run returns soon after."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stop is called. To be run by the main thread: jobs die with the thread that started them."""
        async with asyncio.TaskGroup() as runs:
            while not self._stopping.is_set():
                if (task := await self._next()) is not None:
                    self._running.add(task.id)
                    runs.create_task(self._perform(task))
                else:
                    await self._pause()

    async def _next(self) -> Task | None:
        if len(self._running) >= self._slots:
            return None
        try:
            return await asyncio.to_thread(self._queue.claim, self._holder, skip=frozenset(self._running))
        except StorageFullError as error:
            log.warning("no task taken", extra={"error": error.message})
            return None

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), self._poll_s)
        except TimeoutError:
            return

    async def _perform(self, task: Task) -> None:
        place = TaskFolder(self._folder / task.id)
        journal = Journal(place)
        run = JobRun(task, place, self._queue, self._holder, journal)
        outcome = await run.perform(
            self._argv(task),
            stopping=self._stopping,
            environ=self._environ,
            niceness=self._niceness,
            poll_s=self._poll_s,
            grace_s=self._grace_s,
        )
        if isinstance(outcome, Failure) and outcome.code == "job_crashed":
            journal.log(utc_now(), "last output", {"text": _last_output(place)})
        after = await self._settled(task, outcome, journal)
        if after is not None and after.state is TaskState.SUCCEEDED:
            await asyncio.to_thread(shutil.rmtree, place.work, ignore_errors=True)
        self._running.discard(task.id)
        state = after.state.value if after is not None else "lost"
        log.info("task attempt ended", extra={"task_id": task.id, "attempt": task.attempt, "state": state})

    async def _settled(self, task: Task, outcome: Outcome, journal: Journal) -> Task | None:
        """Settle as soon as there is room to write it down; a worker that stops before leaves it to its successor."""
        while True:
            try:
                return await asyncio.to_thread(self._settle, task, outcome, journal)
            except StorageFullError as error:
                log.warning("outcome not written", extra={"task_id": task.id, "error": error.message})
                if self._stopping.is_set():
                    return None
                await self._pause()

    def _settle(self, task: Task, outcome: Outcome, journal: Journal) -> Task | None:
        match outcome:
            case Finished(result):
                done = guarded(lambda: self._queue.complete(task, self._holder, result, self._apply))
                if isinstance(done, Failure) and done.code == StorageFullError.code:
                    raise StorageFullError(done.message)
                return self._failed(task, done, journal) if isinstance(done, Failure) else done
            case Interrupted():
                return self._queue.give_back(task, self._holder)
            case Lost():
                journal.log(utc_now(), "stopped")
                return None
            case _:
                return self._failed(task, outcome, journal)

    def _failed(self, task: Task, failure: Failure, journal: Journal) -> Task | None:
        after = self._queue.fail(task, self._holder, failure)
        fields = {**failure.as_error(), **({"traceback": failure.trace} if failure.trace else {})}
        journal.log(utc_now(), "attempt failed", fields)
        return after


def _last_output(place: TaskFolder) -> str:
    if not place.output.exists():
        return ""
    with place.output.open("rb") as file:
        file.seek(max(0, place.output.stat().st_size - LAST_OUTPUT_BYTES))
        return file.read().decode("utf-8", "replace")
