"""The durable queue: tasks in the store, taken by workers under leases."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, TypeAlias

import msgspec

from hanlin.domain import ScheduleId, Task, TaskId, TaskState, UnprocessableError, new_id
from hanlin.store import Store
from hanlin.workflows.failures import Failure
from hanlin.workflows.holders import is_gone

Apply: TypeAlias = Callable[[Task, Mapping[str, Any]], Mapping[str, Any] | None]

FIRST_DELAY_S = 2.0
LONGEST_DELAY_S = 120.0
WORKER_LOST = Failure(
    code="worker_lost",
    message="the worker died during each attempt",
    hint="see the task's log; when memory ran out, use a smaller model or shorter texts, then retry",
)


def utc_now() -> datetime:
    """Return the present instant."""
    return datetime.now(UTC)


def retry_delay_s(attempt: int, jitter: float) -> float:
    """Return the pause after failed attempt number *attempt*: doubling, half of it moved by *jitter* in [0, 1)."""
    return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** (attempt - 1)) * (0.5 + jitter / 2)


class TaskQueue:
    """
    Tasks that wait, run and are over; knows no kind of task by name.

    Every call is one short transaction. A worker that lost its task (cancelled, or taken over after its lease ran
    out) cannot change it any more: the attempt number is the fence.
    """

    def __init__(
        self,
        store: Store,
        *,
        lease_s: float = 10.0,
        clock: Callable[[], datetime] = utc_now,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store, self.lease_s, self._clock, self._jitter = store, lease_s, clock, jitter

    def submit(
        self,
        kind: str,
        params: Mapping[str, Any],
        *,
        by: str,
        run_at: datetime | None = None,
        workspace: str = "default",
        max_attempts: int = 3,
        schedule_id: ScheduleId | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """
        Add a task, to run now or at *run_at*; return it once it is durable.

        The same *idempotency_key* in a workspace gives the task of the first call; with another kind or other
        params it raises UnprocessableError (``idempotency_key_reused``).
        """
        now = self._clock()
        task = Task(
            id=TaskId(new_id("task")),
            kind=kind,
            params=msgspec.json.decode(msgspec.json.encode(params)),
            created_by=by,
            created_at=now,
            run_at=run_at or now,
            workspace=workspace,
            max_attempts=max_attempts,
            schedule_id=schedule_id,
        )
        key = None if idempotency_key is None else f"{workspace}:{idempotency_key}"
        with self._store.transaction():
            if key is not None and (found := self._store.tasks.list(idempotency_key=key, limit=1).items):
                return _same(found[0], task)
            return self._store.tasks.add(task, idempotency_key=key)

    def cancel(self, task_id: str) -> Task:
        """End a task that is not over; a running job is stopped by its worker. Idempotent for cancelled tasks."""
        with self._store.transaction():
            task = self._store.tasks.get(task_id)
            if task.state is TaskState.CANCELLED:
                return task
            cancelled = replace(task.moved(TaskState.CANCELLED), finished_at=self._clock())
            return self._store.tasks.replace(cancelled, was=task)

    def retry(self, task_id: str) -> Task:
        """Queue a failed or cancelled task again, with all its attempts; its job goes on from where it was."""
        with self._store.transaction():
            task = self._store.tasks.get(task_id)
            again = replace(
                task.moved(TaskState.QUEUED),
                run_at=self._clock(),
                attempt=0,
                error=None,
                progress={},
                started_at=None,
                finished_at=None,
            )
            return self._store.tasks.replace(again, was=task)

    def claim(self, holder: str, *, skip: Collection[TaskId] = ()) -> Task | None:
        """
        Take a task and return it running, or None: first what another worker left behind, then the oldest one due.

        A task whose last allowed attempt was left behind fails with ``worker_lost``.
        """
        for task in chain(self._left_behind(), self._due()):
            if task.id not in skip and (claimed := self._take(task, holder)) is not None:
                return claimed
        return None

    def _left_behind(self) -> Iterator[Task]:
        for task in self._store.tasks.iter(state=TaskState.RUNNING.value):
            held_by = self._store.leases.holder_of(_lease(task))
            if held_by is not None and is_gone(held_by):
                self._store.leases.release(_lease(task), held_by)
                held_by = None
            if held_by is None:
                yield task

    def _due(self) -> Iterator[Task]:
        now = self._clock()
        return (task for task in self._store.tasks.iter(state=TaskState.QUEUED.value) if task.run_at <= now)

    def _take(self, seen: Task, holder: str) -> Task | None:
        now = self._clock()
        with self._store.transaction():
            task = self._store.tasks.find(seen.id)
            if task != seen or not self._store.leases.acquire(_lease(seen), holder, self.lease_s):
                return None
            if seen.state is TaskState.RUNNING and seen.attempt >= seen.max_attempts:
                self._end(seen, WORKER_LOST, now)
                self._store.leases.release(_lease(seen), holder)
                return None
            waiting = seen if seen.state is TaskState.QUEUED else seen.moved(TaskState.QUEUED)
            running = replace(
                waiting.moved(TaskState.RUNNING), attempt=seen.attempt + 1, started_at=seen.started_at or now
            )
            return self._store.tasks.replace(running, was=seen)

    def is_held(self, task: Task) -> bool:
        """Whether *task*, as claimed, still runs: neither cancelled nor taken over."""
        return self._held(task) is not None

    def renew(self, task: Task, holder: str, progress: Mapping[str, Any] | None = None) -> bool:
        """Renew the lease and write *progress* down; False when the task is not held any more."""
        with self._store.transaction():
            current = self._held(task)
            if current is None or not self._store.leases.acquire(_lease(task), holder, self.lease_s):
                return False
            if progress is not None and progress != current.progress:
                self._store.tasks.replace(replace(current, progress=dict(progress)), was=current)
            return True

    def complete(self, task: Task, holder: str, result: Mapping[str, Any], apply: Apply) -> Task | None:
        """
        Apply *result* and mark the task succeeded, both in one transaction; None when it was lost meanwhile.

        What *apply* returns (if anything) becomes the task's result. What it raises undoes everything.
        """
        with self._store.transaction():
            if (current := self._held(task)) is None:
                return None
            outcome = apply(current, result)
            done = replace(
                current.moved(TaskState.SUCCEEDED),
                result=dict(result if outcome is None else outcome),
                error=None,
                finished_at=self._clock(),
            )
            self._store.leases.release(_lease(task), holder)
            return self._store.tasks.replace(done, was=current)

    def fail(self, task: Task, holder: str, failure: Failure) -> Task | None:
        """Queue the task again, later, if *failure* is retryable and attempts are left; else mark it failed."""
        now = self._clock()
        with self._store.transaction():
            if (current := self._held(task)) is None:
                return None
            self._store.leases.release(_lease(task), holder)
            if not failure.is_retryable or current.attempt >= current.max_attempts:
                return self._end(current, failure, now)
            delay = timedelta(seconds=retry_delay_s(current.attempt, self._jitter()))
            later = replace(current.moved(TaskState.QUEUED), run_at=now + delay, error=failure.as_error())
            return self._store.tasks.replace(later, was=current)

    def give_back(self, task: Task, holder: str) -> Task | None:
        """Put a running task back as if this attempt had not been made; for workers that stop."""
        with self._store.transaction():
            if (current := self._held(task)) is None:
                return None
            self._store.leases.release(_lease(task), holder)
            waiting = replace(current.moved(TaskState.QUEUED), attempt=current.attempt - 1)
            return self._store.tasks.replace(waiting, was=current)

    def _held(self, task: Task) -> Task | None:
        current = self._store.tasks.find(task.id)
        is_same_run = current is not None and current.state is TaskState.RUNNING and current.attempt == task.attempt
        return current if is_same_run else None

    def _end(self, task: Task, failure: Failure, now: datetime) -> Task:
        failed = replace(task.moved(TaskState.FAILED), error=failure.as_error(), finished_at=now)
        return self._store.tasks.replace(failed, was=task)


def _lease(task: Task) -> str:
    return f"task/{task.id}"


def _same(first: Task, again: Task) -> Task:
    if (first.kind, first.params) != (again.kind, again.params):
        raise UnprocessableError(
            "the idempotency key was used before for another task",
            code="idempotency_key_reused",
            hint="send the same kind and params, or another key",
        )
    return first
