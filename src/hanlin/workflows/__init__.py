"""Durable tasks: queue, schedules, workers and the jobs they start. Knows no kind of task by name."""

from hanlin.workflows.cron import Cron
from hanlin.workflows.failures import Failure
from hanlin.workflows.folder import LogLine, LogPage, TaskFolder, read_log, read_series
from hanlin.workflows.job import EventWriter, JobContext, JobFunction, run_job
from hanlin.workflows.queue import Apply, TaskQueue
from hanlin.workflows.schedule import Scheduler, decide_due
from hanlin.workflows.worker import Worker

__all__ = [
    "Apply",
    "Cron",
    "EventWriter",
    "Failure",
    "JobContext",
    "JobFunction",
    "LogLine",
    "LogPage",
    "Scheduler",
    "TaskFolder",
    "TaskQueue",
    "Worker",
    "decide_due",
    "read_log",
    "read_series",
    "run_job",
]
