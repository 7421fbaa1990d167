"""Schedules: cron lines that put tasks into the queue, each fire time exactly once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from hanlin.domain import MissedRuns, Schedule, ScheduleId, StorageFullError, Task, new_id
from hanlin.store import Store
from hanlin.workflows.cron import Cron
from hanlin.workflows.queue import TaskQueue, utc_now

logger = logging.getLogger(__name__)
LATE_AFTER = timedelta(seconds=60)  # a fire time this long ago was missed; before that we were merely slow


@dataclass(frozen=True, slots=True)
class Due:
    """What a schedule calls for now: the fire time to run (None: nothing), and when to look again."""

    fire_at: datetime | None
    next_run_at: datetime


def decide_due(schedule: Schedule, now: datetime) -> Due:
    """
    Return what *schedule* calls for at *now*.

    Of several fire times that passed only the last can run. If that one was missed by more than a minute (nobody was
    there), it runs under the policy ``once`` and not under ``skip``. A clock that jumped back changes nothing: what
    fired stays behind next_run_at.
    """
    if schedule.next_run_at > now:
        return Due(None, schedule.next_run_at)
    cron = Cron(schedule.cron, schedule.timezone)
    last = cron.last_until(now, since=schedule.next_run_at) or schedule.next_run_at
    is_missed = now - last > LATE_AFTER
    fire_at = None if is_missed and schedule.missed_runs is MissedRuns.SKIP else last
    return Due(fire_at, cron.first_after(now))


class Scheduler:
    """Keeps schedules and creates their tasks; safe to run in several processes at once."""

    def __init__(self, store: Store, queue: TaskQueue, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._store, self._queue, self._clock = store, queue, clock

    def create(
        self,
        kind: str,
        params: Mapping[str, Any],
        *,
        cron: str,
        by: str,
        timezone: str = "UTC",
        missed_runs: MissedRuns = MissedRuns.ONCE,
    ) -> Schedule:
        """Keep a new schedule, or raise InvalidInputError (``cron_invalid``, ``timezone_unknown``)."""
        now = self._clock()
        schedule = Schedule(
            id=ScheduleId(new_id("schedule")),
            kind=kind,
            params=dict(params),
            cron=cron,
            timezone=timezone,
            created_by=by,
            created_at=now,
            next_run_at=Cron(cron, timezone).first_after(now),
            missed_runs=missed_runs,
        )
        return self._store.schedules.add(schedule)

    def tick(self) -> list[Task]:
        """Create the tasks that are due now and return them. Repeating it, here or elsewhere, creates none twice."""
        now = self._clock()
        due = [schedule for schedule in self._store.schedules.iter() if _is_due(schedule, now)]
        tasks = [self._fire(schedule.id, now) for schedule in due]
        return [task for task in tasks if task is not None]

    def _fire(self, schedule_id: ScheduleId, now: datetime) -> Task | None:
        with self._store.transaction():
            schedule = self._store.schedules.find(schedule_id)
            if schedule is None or not _is_due(schedule, now):
                return None
            due = decide_due(schedule, now)
            self._store.schedules.replace(replace(schedule, next_run_at=due.next_run_at), was=schedule)
            if due.fire_at is None:
                return None
            return self._queue.submit(
                schedule.kind,
                schedule.params,
                by=schedule.created_by,
                schedule_id=schedule.id,
                idempotency_key=f"{schedule.id}@{due.fire_at.isoformat()}",
            )

    async def run(self, *, poll_s: float = 1.0) -> None:
        """Create due tasks until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.tick)
            except StorageFullError as error:
                logger.warning("schedules wait", extra={"error": error.message})
            await asyncio.sleep(poll_s)


def _is_due(schedule: Schedule, now: datetime) -> bool:
    return schedule.is_active and schedule.next_run_at <= now
