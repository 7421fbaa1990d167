"""Real programs for the tests: a worker, and the jobs it starts. Run as ``programs.py worker|job …``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hanlin.domain import InvalidInputError, Model, ModelName, Task, UnavailableError
from hanlin.fleet import die_with_parent
from hanlin.store import Store
from hanlin.workflows import JobContext, JobFunction, TaskQueue, Worker, run_job


def count(context: JobContext) -> Mapping[str, Any]:
    """Count to ``to`` with a checkpoint after each step; leave a trace of every step done."""
    checkpoint = context.workdir / "done"
    done = int(checkpoint.read_text()) if checkpoint.exists() else 0
    context.reporter.log("counting", start=done, name="语料")
    for step in range(done + 1, int(context.task.params["to"]) + 1):
        time.sleep(float(context.task.params.get("pause_s", 0.02)))
        with (context.workdir.parent / "steps.txt").open("a") as steps:
            steps.write(f"{step}\n")
        unfinished = checkpoint.with_suffix(".part")
        unfinished.write_text(str(step))
        unfinished.replace(checkpoint)
        context.reporter.metric("loss", step, 1 / step)
        context.reporter.progress(step, context.task.params["to"], "step")
    return {"counted": context.task.params["to"], "resumed_from": done}


def refuse(_: JobContext) -> Mapping[str, Any]:
    """Fail in a way that no retry helps."""
    raise InvalidInputError("the corpus has one label", code="one_label", hint="import a corpus with two labels")


def be_unavailable(_: JobContext) -> Mapping[str, Any]:
    """Fail in a way that a retry may help."""
    raise UnavailableError("the hub does not answer")


def stumble(_: JobContext) -> Mapping[str, Any]:
    """Fail by a bug."""
    return {"never": 1 / 0}


def crash(context: JobContext) -> Mapping[str, Any]:
    """Die by a signal on the first ``crashes`` attempts."""
    sys.stdout.write("about to crash\n")
    sys.stdout.flush()
    if context.task.attempt <= int(context.task.params.get("crashes", 99)):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"attempt": context.task.attempt}


def ignore_signals(context: JobContext) -> Mapping[str, Any]:
    """Neither end on SIGTERM nor without a child that does not either."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import signal,time; signal.signal(15, 1); time.sleep(600)"])
    (context.workdir.parent / "pids.txt").write_text(f"{os.getpid()} {child.pid}")
    context.reporter.progress(0, 1, "step")
    time.sleep(600)
    return {}


def leave_child(_: JobContext) -> Mapping[str, Any]:
    """Return while a child still holds every descriptor open."""
    subprocess.Popen(["sleep", "600"], close_fds=False)
    return {"left": True}


JOBS: dict[str, JobFunction] = {
    f.__name__: f for f in (count, refuse, be_unavailable, stumble, crash, ignore_signals, leave_child)
}


def apply_result(store: Store, task: Task, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Create a model named after the task: a second time it would be a conflict."""
    store.models.add(
        Model(
            name=ModelName(task.id), task="classification", created_at=task.created_at, description=json.dumps(result)
        )
    )
    return {**result, "model": task.id}


def job_command(data: Path, task: Task) -> list[str]:
    """Return the command that does *task*."""
    return [sys.executable, __file__, "job", str(data), task.id]


def main() -> int:
    """Be a worker or a job."""
    role, data = sys.argv[1], Path(sys.argv[2])
    if role == "job":
        die_with_parent()
        task = Store.open(data / "store.sqlite3").tasks.get(sys.argv[3])
        return run_job(JOBS[task.kind], task, data / "tasks" / task.id)
    store = Store.open(data / "store.sqlite3")
    worker = Worker(
        TaskQueue(store, lease_s=float(sys.argv[3])),
        data / "tasks",
        argv=lambda task: job_command(data, task),
        apply=lambda task, result: apply_result(store, task, result),
        slots=2,
        poll_s=0.02,
    )

    async def work() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run()

    asyncio.run(work())
    return 0


if __name__ == "__main__":
    sys.exit(main())
