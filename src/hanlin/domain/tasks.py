"""Tasks: long work that is asked for now, at a time, or by a cron line, and survives the death of who does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from hanlin.domain.errors import IllegalMoveError
from hanlin.domain.ids import ScheduleId, TaskId


class TaskState(StrEnum):
    """The life of a task."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


T = TaskState
TASK_MOVES: Mapping[TaskState, frozenset[TaskState]] = {
    T.QUEUED: frozenset({T.RUNNING, T.CANCELLED}),
    T.RUNNING: frozenset({T.QUEUED, T.SUCCEEDED, T.FAILED, T.CANCELLED}),
    T.SUCCEEDED: frozenset(),
    T.FAILED: frozenset({T.QUEUED}),
    T.CANCELLED: frozenset({T.QUEUED}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One piece of long work: what is to be done, how far it is, and what came of it."""

    id: TaskId
    kind: str
    params: Mapping[str, Any]
    created_by: str
    created_at: datetime
    run_at: datetime
    workspace: str = "default"
    state: TaskState = TaskState.QUEUED
    attempt: int = 0
    max_attempts: int = 3
    schedule_id: ScheduleId | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)  # done, total, unit, message, time_left_s
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None  # code, message, hint
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen unless somebody asks for it."""
        return self.state in {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED}

    def moved(self, to: TaskState) -> Self:
        """Return this task in state *to*, or raise if that move is not allowed."""
        if to not in TASK_MOVES[self.state]:
            raise IllegalMoveError(f"task {self.id}", self.state, to)
        return replace(self, state=to)


class MissedRuns(StrEnum):
    """What to do with runs whose time passed while nobody was there to start them."""

    SKIP = "skip"
    ONCE = "once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A cron line in a time zone that creates tasks."""

    id: ScheduleId
    kind: str
    params: Mapping[str, Any]
    cron: str
    timezone: str
    created_by: str
    created_at: datetime
    next_run_at: datetime
    missed_runs: MissedRuns = MissedRuns.ONCE
    is_active: bool = True
