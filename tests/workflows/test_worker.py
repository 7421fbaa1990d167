from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.workflows.programs import apply_result, job_command

from hanlin.domain import Task, TaskState
from hanlin.store import Store
from hanlin.workflows import TaskFolder, TaskQueue, Worker, read_log, read_series

PROGRAM = Path(__file__).parent / "programs.py"
ENVIRON = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


class Bench:
    """A data folder with a store, a queue, and a worker in this process."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.store = Store.open(data / "store.sqlite3")
        self.queue = TaskQueue(self.store, jitter=lambda: 0.0)
        self.applied: list[str] = []

    def apply(self, task: Task, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """Apply a result and remember that."""
        self.applied.append(task.id)
        return dict(apply_result(self.store, task, result))

    def worker(self, **options: Any) -> Worker:
        """Return a worker for this folder."""
        return Worker(
            self.queue,
            self.data / "tasks",
            argv=lambda task: job_command(self.data, task),
            apply=self.apply,
            poll_s=0.02,
            environ=ENVIRON,
            **options,
        )

    async def until(
        self, task: Task, is_reached: Callable[[Task], bool], worker: Worker | None = None, **options: Any
    ) -> Task:
        """Let a worker run until *task* is as wanted."""
        worker = worker or self.worker(**options)
        running = asyncio.create_task(worker.run())
        try:
            async with asyncio.timeout(30):
                while not is_reached(now := self.store.tasks.get(task.id)):
                    assert not running.done()
                    await asyncio.sleep(0.02)
            return now
        finally:
            worker.stop()
            await running

    def folder(self, task: Task) -> TaskFolder:
        """Return where *task* lives."""
        return TaskFolder(self.data / "tasks" / task.id)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()


def is_over(task: Task) -> bool:
    return task.is_over


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


class TestWorker:
    async def test_does_a_task_and_applies_its_result(self, bench: Bench) -> None:
        """A task runs as a process of its own; progress, log, series and result can be read afterwards."""
        task = bench.queue.submit("count", {"to": 5}, by="ann")

        done = await bench.until(task, is_over)

        assert done.state is TaskState.SUCCEEDED
        assert done.result == {"counted": 5, "resumed_from": 0, "model": task.id}
        assert done.progress["done"] == 5
        lines = read_log(bench.folder(task).root).lines
        assert [line["message"] for line in lines] == ["attempt started", "counting"]
        assert lines[1]["fields"]["name"] == "语料"
        assert read_series(bench.folder(task).root)["loss"][-1] == (5, 0.2)
        assert bench.store.models.get(task.id)
        assert not bench.folder(task).work.exists()

    async def test_shows_progress_while_it_runs(self, bench: Bench) -> None:
        """Done, total and the time left are there before the end."""
        task = bench.queue.submit("count", {"to": 200}, by="ann")

        seen = await bench.until(task, lambda t: "time_left_s" in t.progress)

        assert 0 < seen.progress["done"] < 200
        assert seen.progress["unit"] == "step"
        assert seen.progress["time_left_s"] > 0

    async def test_an_understood_failure_keeps_code_and_hint(self, bench: Bench) -> None:
        """What a job raises reaches the task as code, message and hint, without a retry."""
        task = bench.queue.submit("refuse", {}, by="ann")

        failed = await bench.until(task, is_over)

        assert failed.error == {
            "code": "one_label",
            "message": "the corpus has one label",
            "hint": "import a corpus with two labels",
        }
        assert failed.attempt == 1
        assert bench.applied == []

    async def test_a_bug_shows_its_traceback_in_the_log_only(self, bench: Bench) -> None:
        """An unexpected exception is internal_error for callers; the log tells more."""
        task = bench.queue.submit("stumble", {}, by="ann")

        failed = await bench.until(task, is_over)

        assert failed.error is not None
        assert failed.error["code"] == "internal_error"
        assert "division" not in json.dumps(failed.error)
        assert any("division by zero" in str(line["fields"]) for line in read_log(bench.folder(task).root).lines)

    async def test_a_crashed_job_is_tried_again(self, bench: Bench) -> None:
        """A job that dies by a signal runs again after a pause."""
        task = bench.queue.submit("crash", {"crashes": 1}, by="ann")

        done = await bench.until(task, is_over)

        assert (done.state, done.attempt) == (TaskState.SUCCEEDED, 2)
        assert any("about to crash" in str(line["fields"]) for line in read_log(bench.folder(task).root).lines)

    async def test_a_job_that_always_crashes_fails_in_the_end(self, bench: Bench) -> None:
        """After max_attempts the task fails and says how the job died."""
        task = bench.queue.submit("crash", {}, by="ann", max_attempts=1)

        failed = await bench.until(task, is_over)

        assert failed.error is not None
        assert failed.error["code"] == "job_crashed"
        assert "SIGKILL" in failed.error["message"]

    async def test_what_may_pass_waits_in_the_queue(self, bench: Bench) -> None:
        """A retryable error queues the task for later and shows why."""
        task = bench.queue.submit("be_unavailable", {}, by="ann")

        waiting = await bench.until(task, lambda t: t.error is not None)

        assert waiting.state is TaskState.QUEUED
        assert waiting.error is not None
        assert waiting.error["code"] == "unavailable"

    async def test_cancel_ends_the_job_and_its_children(self, bench: Bench) -> None:
        """Even a job that ignores SIGTERM, and a child of it, are gone after the grace time."""
        task = bench.queue.submit("ignore_signals", {}, by="ann")
        pids = bench.folder(task).root / "pids.txt"

        def cancelled(now: Task) -> bool:
            if now.state is TaskState.RUNNING and now.progress:
                bench.queue.cancel(task.id)
            return now.is_over

        ended = await bench.until(task, cancelled, grace_s=0.2)

        assert ended.state is TaskState.CANCELLED
        assert not any(is_alive(int(pid)) for pid in pids.read_text().split())

    async def test_an_apply_that_fails_fails_the_task(self, bench: Bench) -> None:
        """When the registry refuses the result, its reason is the task's error."""
        task = bench.queue.submit("count", {"to": 1}, by="ann")
        apply_result(bench.store, task, {})

        failed = await bench.until(task, is_over)

        assert failed.error is not None
        assert failed.error["code"] == "model_exists"

    async def test_a_child_that_stays_does_not_hold_the_task(self, bench: Bench) -> None:
        """A task is over when its job returned, whatever it left running."""
        task = bench.queue.submit("leave_child", {}, by="ann")
        started = time.monotonic()

        done = await bench.until(task, is_over)

        assert done.state is TaskState.SUCCEEDED
        assert time.monotonic() - started < 10

    async def test_a_planned_stop_gives_the_task_back(self, bench: Bench) -> None:
        """A worker that is asked to stop leaves its task queued, with no attempt lost, and the next one resumes it."""
        task = bench.queue.submit("count", {"to": 40}, by="ann", max_attempts=1)
        await bench.until(task, lambda t: t.progress.get("done", 0) > 2)
        given_back = bench.store.tasks.get(task.id)

        done = await bench.until(task, is_over)

        assert (given_back.state, given_back.attempt) == (TaskState.QUEUED, 0)
        assert done.result is not None
        assert done.result["resumed_from"] > 2

    async def test_a_command_that_does_not_exist_fails_the_task(self, bench: Bench) -> None:
        """The worker outlives a job that cannot even start."""
        task = bench.queue.submit("count", {"to": 1}, by="ann", max_attempts=1)
        worker = Worker(bench.queue, bench.data / "tasks", argv=lambda _: ["/no/such"], apply=bench.apply, poll_s=0.02)
        failed = await bench.until(task, is_over, worker)

        assert failed.error is not None
        assert failed.error["code"] == "job_not_started"


class Workers:
    """Worker processes that can be killed."""

    def __init__(self, data: Path, lease_s: float) -> None:
        self._data, self.lease_s = data, lease_s
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """Start one more."""
        argv = [sys.executable, str(PROGRAM), "worker", str(self._data), str(self.lease_s)]
        self.processes.append(subprocess.Popen(argv, env={**os.environ, **ENVIRON}, stdout=subprocess.DEVNULL))
        return self.processes[-1]

    def end(self) -> None:
        """Kill them all."""
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def workers(bench: Bench) -> Iterator[Workers]:
    workers = Workers(bench.data, lease_s=30)
    yield workers
    workers.end()


def wait_for(is_reached: Callable[[], bool], timeout_s: float = 20) -> float:
    started = time.monotonic()
    while not is_reached():
        assert time.monotonic() - started < timeout_s
        time.sleep(0.02)
    return time.monotonic() - started


class TestDeathOfAWorker:
    def test_its_job_dies_and_another_worker_resumes_the_task(self, bench: Bench, workers: Workers) -> None:
        """After kill -9 the job is gone, the next worker goes on from the checkpoint long before the lease is over."""
        task = bench.queue.submit("count", {"to": 15, "pause_s": 0.05}, by="ann")
        first = workers.start()
        steps = bench.folder(task).root / "steps.txt"
        wait_for(lambda: steps.exists() and steps.read_text().count("\n") > 3)
        job = int(bench.folder(task).lock.read_text())

        first.kill()
        first.wait()
        wait_for(lambda: not is_alive(job), timeout_s=2)
        before = len(steps.read_text().split())
        workers.start()
        took_s = wait_for(lambda: len(steps.read_text().split()) > before)
        wait_for(lambda: bench.store.tasks.get(task.id).is_over)

        done = bench.store.tasks.get(task.id)
        assert (done.state, done.attempt) == (TaskState.SUCCEEDED, 2)
        assert done.result is not None
        assert done.result["resumed_from"] >= 3
        assert took_s < workers.lease_s / 2

    def test_a_frozen_worker_cannot_harm_its_successor(self, bench: Bench, workers: Workers) -> None:
        """A stopped worker loses its lease; its job is killed before the next one starts, and it drops what it knew."""
        workers.lease_s = 0.6
        task = bench.queue.submit("count", {"to": 25, "pause_s": 0.05}, by="ann")
        frozen = workers.start()
        steps = bench.folder(task).root / "steps.txt"
        wait_for(lambda: steps.exists() and steps.read_text().count("\n") > 3)
        job = int(bench.folder(task).lock.read_text())

        frozen.send_signal(signal.SIGSTOP)
        workers.start()
        wait_for(lambda: bench.store.tasks.get(task.id).attempt == 2)
        wait_for(lambda: not is_alive(job))
        frozen.send_signal(signal.SIGCONT)
        wait_for(lambda: bench.store.tasks.get(task.id).is_over)

        assert bench.store.tasks.get(task.id).state is TaskState.SUCCEEDED
        assert len(bench.store.models.list().items) == 1

    def test_results_are_applied_exactly_once_under_random_kills(self, bench: Bench, workers: Workers) -> None:
        """Whenever workers die, each task's effect happens once and finished work is not repeated."""
        tasks = [bench.queue.submit("count", {"to": 3}, by="ann", max_attempts=20) for _ in range(4)]
        pauses = iter([0.9, 1.2, 1.4])
        while any(not bench.store.tasks.get(task.id).is_over for task in tasks):
            process = workers.start()
            try:
                process.wait(next(pauses, 5.0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        assert {bench.store.tasks.get(task.id).state for task in tasks} == {TaskState.SUCCEEDED}
        assert {str(model.name) for model in bench.store.models.list().items} == {str(task.id) for task in tasks}
