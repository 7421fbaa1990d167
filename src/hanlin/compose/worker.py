"""The worker process, and the jobs that it starts."""

from __future__ import annotations

import asyncio
import logging
import sys
from functools import partial

from hanlin.compose.jobs import JOBS, Workshop
from hanlin.compose.lifetime import stopping_on_signal
from hanlin.compose.parts import Home
from hanlin.control import Changes, Outcomes, Promotions, Registry
from hanlin.domain import Task
from hanlin.workflows import TaskQueue, Worker, run_job

logger = logging.getLogger(__name__)


async def run(home: Home) -> None:
    """Take tasks until SIGTERM or SIGINT."""
    settings, store = home.settings, home.open_store()
    stopping = stopping_on_signal()
    with await asyncio.to_thread(home.open_ledger, "worker") as ledger:
        changes = Changes(store, ledger)
        outcomes = Outcomes(
            Registry(store, changes),
            Promotions(store, changes),
            may_approve_itself=settings.control.may_approve_itself,
        )
        worker = Worker(
            TaskQueue(store, lease_s=settings.worker.lease_s),
            home.layout.tasks,
            argv=lambda task: job_argv(home, task),
            apply=outcomes.apply,
            slots=settings.worker.slots,
            niceness=settings.worker.niceness,
            poll_s=settings.worker.poll_s,
        )
        watching = asyncio.create_task(stopping.wait())
        watching.add_done_callback(lambda _: worker.stop())
        logger.info("worker takes tasks")
        await worker.run()
        watching.cancel()
    store.close()


def job_argv(home: Home, task: Task) -> list[str]:
    """Return the command line of the process that performs *task*."""
    return [sys.executable, "-m", "hanlin.compose", "job", "--data", str(home.layout.root), "--task", task.id]


def run_one_job(home: Home, task_id: str) -> int:
    """Perform one task in this process and return its exit status."""
    store = home.open_store()
    task = store.tasks.get(task_id)
    workshop = Workshop(store=store, artifacts=home.artifacts(), layout=home.layout, settings=home.settings)
    return run_job(partial(JOBS[task.kind], workshop), task, home.layout.tasks / task.id)
