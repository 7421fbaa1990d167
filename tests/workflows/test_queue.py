from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hanlin.domain import (
    ConflictError,
    IllegalMoveError,
    Model,
    ModelName,
    NotFoundError,
    Task,
    TaskId,
    TaskState,
    UnprocessableError,
)
from hanlin.store import Store
from hanlin.workflows import Failure, TaskQueue

CRASH = Failure(code="job_crashed", message="the job was killed", is_retryable=True)
REFUSAL = Failure(code="one_label", message="one label only", hint="two are needed")


class FakeClock:
    """A clock that goes when told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the present instant."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> Store:
    return Store.open_in_memory()


@pytest.fixture
def queue(store: Store, clock: FakeClock) -> TaskQueue:
    return TaskQueue(store, clock=clock, jitter=lambda: 0.0)


def nothing(_: Task, __: Mapping[str, Any]) -> None:
    return None


def claimed(queue: TaskQueue, holder: str = "w1") -> Task:
    task = queue.claim(holder)
    assert task is not None
    return task


class TestSubmit:
    def test_the_same_idempotency_key_gives_the_same_task(self, queue: TaskQueue, store: Store) -> None:
        """A caller who repeats a call starts nothing twice."""
        first = queue.submit("train", {"seeds": (1, 2)}, by="ann", idempotency_key="k")
        again = queue.submit("train", {"seeds": [1, 2]}, by="ann", idempotency_key="k")

        assert again == first
        assert len(store.tasks.list().items) == 1

    def test_a_key_used_for_something_else_is_refused(self, queue: TaskQueue) -> None:
        """An idempotency key never hides that another task was asked for."""
        queue.submit("train", {"model": "a"}, by="ann", idempotency_key="k")

        with pytest.raises(UnprocessableError) as caught:
            queue.submit("train", {"model": "b"}, by="ann", idempotency_key="k")
        assert caught.value.code == "idempotency_key_reused"

    def test_workspaces_do_not_share_keys(self, queue: TaskQueue) -> None:
        """The key of one workspace says nothing about another."""
        first = queue.submit("train", {}, by="ann", idempotency_key="k")

        assert queue.submit("train", {}, by="bob", workspace="other", idempotency_key="k").id != first.id


class TestClaim:
    def test_takes_the_oldest_that_is_due(self, queue: TaskQueue, clock: FakeClock) -> None:
        """Tasks run in the order they came, each not before its time."""
        later = queue.submit("a", {}, by="ann", run_at=clock.now + timedelta(hours=1))
        first = queue.submit("b", {}, by="ann")
        time.sleep(0.002)  # ids are ordered to the millisecond
        second = queue.submit("c", {}, by="ann")

        assert [claimed(queue).id, claimed(queue).id, queue.claim("w1")] == [first.id, second.id, None]
        clock.advance(3600)
        assert claimed(queue).id == later.id

    def test_gives_a_task_to_one_worker_only(self, tmp_path: Any) -> None:
        """However many workers ask at once, each task is claimed once."""
        store = Store.open(tmp_path / "store.sqlite3")
        queue = TaskQueue(store)
        tasks = {queue.submit("a", {"n": n}, by="ann").id for n in range(20)}
        taken: list[TaskId] = []

        def work(holder: str) -> None:
            while (task := queue.claim(holder)) is not None:
                taken.append(task.id)

        threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(taken) == sorted(tasks)

    def test_takes_over_what_a_dead_worker_left(self, queue: TaskQueue, store: Store) -> None:
        """A running task whose lease is over goes on under another worker as a further attempt."""
        task = queue.submit("a", {}, by="ann")
        first = claimed(queue, "w1")
        assert queue.claim("w2") is None
        store.leases.release(f"task/{task.id}", "w1")

        second = claimed(queue, "w2")

        assert (second.id, second.attempt, second.started_at) == (task.id, 2, first.started_at)

    def test_gives_up_a_task_that_kills_its_workers(self, queue: TaskQueue, store: Store) -> None:
        """A task is left behind at most max_attempts times, then it fails with worker_lost."""
        task = queue.submit("a", {}, by="ann", max_attempts=2)
        for holder in ("w1", "w2"):
            assert claimed(queue, holder).id == task.id
            store.leases.release(f"task/{task.id}", holder)

        assert queue.claim("w3") is None
        failed = store.tasks.get(task.id)
        assert failed.state is TaskState.FAILED
        assert failed.error is not None
        assert failed.error["code"] == "worker_lost"


class TestFence:
    def test_a_worker_that_lost_its_task_cannot_change_it(self, queue: TaskQueue, store: Store) -> None:
        """After a take-over whatever the first worker still says is dropped, and its result is not applied."""
        task = queue.submit("a", {}, by="ann")
        first = claimed(queue, "w1")
        store.leases.release(f"task/{task.id}", "w1")
        second = claimed(queue, "w2")

        def apply(_: Task, __: Mapping[str, Any]) -> None:
            raise AssertionError

        assert not queue.is_held(first)
        assert not queue.renew(first, "w1", {"done": 1})
        assert queue.complete(first, "w1", {}, apply) is None
        assert queue.fail(first, "w1", CRASH) is None
        assert store.tasks.get(task.id) == second

    def test_a_cancelled_task_takes_no_result(self, queue: TaskQueue, store: Store) -> None:
        """Cancelling wins over a result that comes later."""
        queue.submit("a", {}, by="ann")
        running = claimed(queue)
        queue.cancel(running.id)

        assert queue.complete(running, "w1", {"x": 1}, nothing) is None
        assert store.tasks.get(running.id).state is TaskState.CANCELLED


class TestComplete:
    def test_applies_and_marks_in_one_transaction(self, queue: TaskQueue, store: Store) -> None:
        """When applying fails half-way nothing of it stays, and the task still runs."""
        queue.submit("a", {}, by="ann")
        running = claimed(queue)

        def apply(task: Task, _: Mapping[str, Any]) -> None:
            store.models.add(Model(name=ModelName("m"), task="classification", created_at=task.created_at))
            raise ConflictError("no")

        with pytest.raises(ConflictError):
            queue.complete(running, "w1", {}, apply)

        assert store.models.find("m") is None
        assert store.tasks.get(running.id).state is TaskState.RUNNING

    def test_keeps_what_apply_returns(self, queue: TaskQueue) -> None:
        """Applying may add what only it knows, such as a version number."""
        queue.submit("a", {}, by="ann")

        done = queue.complete(claimed(queue), "w1", {"digest": "d"}, lambda _, result: {**result, "version": 3})

        assert done is not None
        assert (done.state, done.result) == (TaskState.SUCCEEDED, {"digest": "d", "version": 3})


class TestFail:
    def test_retries_later_and_later_what_may_pass(self, queue: TaskQueue, clock: FakeClock) -> None:
        """A retryable failure waits twice as long each time, until the attempts are used up."""
        queue.submit("a", {}, by="ann", max_attempts=3)
        pauses = []
        for _ in range(2):
            failed = queue.fail(claimed(queue), "w1", CRASH)
            assert failed is not None
            assert failed.state is TaskState.QUEUED
            pauses.append((failed.run_at - clock.now).total_seconds())
            clock.advance(pauses[-1])
        last = queue.fail(claimed(queue), "w1", CRASH)

        assert pauses == [1.0, 2.0]
        assert last is not None
        assert (last.state, last.error) == (TaskState.FAILED, CRASH.as_error())

    def test_fails_at_once_what_no_retry_helps(self, queue: TaskQueue) -> None:
        """A wrong input is reported right away."""
        queue.submit("a", {}, by="ann")

        failed = queue.fail(claimed(queue), "w1", REFUSAL)

        assert failed is not None
        assert (failed.state, failed.attempt) == (TaskState.FAILED, 1)
        assert failed.error == {"code": "one_label", "message": "one label only", "hint": "two are needed"}


class TestByHand:
    def test_a_failed_task_can_be_retried(self, queue: TaskQueue) -> None:
        """Retrying starts over with all attempts and forgets the error."""
        queue.submit("a", {}, by="ann")
        failed = queue.fail(claimed(queue), "w1", REFUSAL)
        assert failed is not None

        again = queue.retry(failed.id)

        assert (again.state, again.attempt, again.error) == (TaskState.QUEUED, 0, None)
        assert claimed(queue).attempt == 1

    def test_only_what_is_not_over_can_be_cancelled(self, queue: TaskQueue) -> None:
        """Cancelling twice is fine, cancelling what succeeded is a conflict."""
        cancelled = queue.cancel(queue.submit("a", {}, by="ann").id)
        queue.submit("a", {}, by="ann")
        done = queue.complete(claimed(queue), "w1", {}, nothing)
        assert done is not None

        assert queue.cancel(cancelled.id) == cancelled
        with pytest.raises(IllegalMoveError):
            queue.cancel(done.id)
        with pytest.raises(NotFoundError):
            queue.cancel("task_none")

    def test_a_worker_that_stops_gives_its_task_back(self, queue: TaskQueue) -> None:
        """A planned stop costs no attempt."""
        queue.submit("a", {}, by="ann", max_attempts=1)

        queue.give_back(claimed(queue), "w1")

        assert claimed(queue, "w2").attempt == 1
