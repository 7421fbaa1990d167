from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.domain import InvalidInputError, MissedRuns, Schedule, ScheduleId, Task
from hanlin.store import Store
from hanlin.workflows import Cron, Scheduler, TaskQueue, decide_due


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def schedule(next_run_at: datetime, cron: str = "0 3 * * *", missed: MissedRuns = MissedRuns.ONCE) -> Schedule:
    return Schedule(
        id=ScheduleId("s"),
        kind="evaluate",
        params={},
        cron=cron,
        timezone="UTC",
        created_by="ann",
        created_at=next_run_at,
        next_run_at=next_run_at,
        missed_runs=missed,
    )


class TestCron:
    def test_reads_the_line_in_its_time_zone(self) -> None:
        """Three in the morning in Shanghai is seven in the evening before in UTC."""
        cron = Cron("0 3 * * *", "Asia/Shanghai")

        assert cron.first_after(at("2026-05-01T00:00+00:00")) == at("2026-05-01T19:00+00:00")

    def test_fires_once_where_daylight_saving_skips_or_repeats_the_hour(self) -> None:
        """A daily line fires once a day: after the gap in spring, the first time in autumn."""
        cron = Cron("30 2 * * *", "Europe/Berlin")
        spring = cron.first_after(at("2026-03-28T12:00+01:00"))
        autumn = cron.first_after(at("2026-10-24T12:00+02:00"))

        assert spring == at("2026-03-29T03:00+02:00")
        assert cron.first_after(spring) == at("2026-03-30T02:30+02:00")
        assert autumn == at("2026-10-25T02:30+02:00")
        assert cron.first_after(autumn) == at("2026-10-26T02:30+01:00")

    def test_a_start_in_the_repeated_hour_does_not_go_back(self) -> None:
        """The next fire time is always later than now."""
        now = at("2026-10-25T02:10+01:00")

        assert Cron("30 2 * * *", "Europe/Berlin").first_after(now) > now

    @settings(max_examples=60, deadline=None)
    @given(
        line=st.sampled_from(["30 2 * * *", "*/30 * * * *", "15 1-3 * * *", "0 9 * * 1-5"]),
        zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Shanghai"]),
        now=st.datetimes(datetime(2026, 1, 5), datetime(2027, 1, 1)).map(lambda d: d.replace(tzinfo=UTC)),  # noqa: DTZ001
    )
    def test_looking_back_and_forth_agree(self, line: str, zone: str, now: datetime) -> None:
        """Nothing fires between the last fire time and now, in any zone on any day."""
        cron = Cron(line, zone)

        last = cron.last_until(now, since=now - timedelta(days=5))

        assert last is not None
        assert last <= now < cron.first_after(last)

    @pytest.mark.parametrize(
        "line", ["", "* * * *", "61 * * * *", "0 0 30 2 *", "* * * * * *", "daily", "0 0 * * 周一"]
    )
    def test_names_a_line_that_cannot_be_read(self, line: str) -> None:
        """A wrong cron line is refused when it is made, not when it should fire."""
        with pytest.raises(InvalidInputError) as caught:
            Cron(line, "UTC")

        assert caught.value.code == "cron_invalid"

    @pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../../etc/passwd", "Asia"])
    def test_names_a_zone_that_does_not_exist(self, zone: str) -> None:
        """A wrong time zone is refused, paths included."""
        with pytest.raises(InvalidInputError) as caught:
            Cron("* * * * *", zone)

        assert caught.value.code == "timezone_unknown"


class TestDecideDue:
    def test_waits_for_its_time(self) -> None:
        """Before the fire time there is nothing to do."""
        due = decide_due(schedule(at("2026-05-02T03:00+00:00")), at("2026-05-02T02:59+00:00"))

        assert due.fire_at is None

    @pytest.mark.parametrize("policy", list(MissedRuns))
    def test_runs_at_its_time_under_every_policy(self, policy: MissedRuns) -> None:
        """A few seconds of delay do not make a missed run."""
        due = decide_due(schedule(at("2026-05-02T03:00+00:00"), missed=policy), at("2026-05-02T03:00:20+00:00"))

        assert due.fire_at == at("2026-05-02T03:00+00:00")
        assert due.next_run_at == at("2026-05-03T03:00+00:00")

    def test_runs_once_for_all_that_was_missed(self) -> None:
        """After a week of absence the policy once makes one task, for the last fire time."""
        due = decide_due(schedule(at("2026-05-02T03:00+00:00")), at("2026-05-09T12:00+00:00"))

        assert (due.fire_at, due.next_run_at) == (at("2026-05-09T03:00+00:00"), at("2026-05-10T03:00+00:00"))

    def test_skips_what_was_missed(self) -> None:
        """The policy skip makes none."""
        due = decide_due(schedule(at("2026-05-02T03:00+00:00"), missed=MissedRuns.SKIP), at("2026-05-09T12:00+00:00"))

        assert (due.fire_at, due.next_run_at) == (None, at("2026-05-10T03:00+00:00"))


class TestScheduler:
    def test_each_fire_time_makes_one_task_whoever_looks(self, tmp_path: Path) -> None:
        """Restarts, several schedulers and a clock that jumps back two hours never make a task twice."""
        clock = [at("2026-05-01T00:00+00:00")]
        stores = [Store.open(tmp_path / "store.sqlite3") for _ in range(2)]
        schedulers = [Scheduler(s, TaskQueue(s), clock=lambda: clock[0]) for s in stores]
        made = schedulers[0].create("evaluate", {"model": "m"}, cron="0 * * * *", by="ann")
        tasks: list[Task] = []
        minutes = [*range(0, 300, 7), *range(180, 420, 7)]

        for n, minute in enumerate(minutes):
            clock[0] = at("2026-05-01T00:00+00:00") + timedelta(minutes=minute)
            tasks += schedulers[n % 2].tick()
            tasks += schedulers[(n + 1) % 2].tick()

        assert len(tasks) == 6
        assert {task.schedule_id for task in tasks} == {made.id}
        assert len(stores[0].tasks.list(schedule_id=made.id).items) == 6

    def test_a_schedule_that_was_removed_makes_no_more(self) -> None:
        """Deleting the schedule ends it; tasks it made stay."""
        store = Store.open_in_memory()
        clock = [at("2026-05-01T00:00+00:00")]
        scheduler = Scheduler(store, TaskQueue(store), clock=lambda: clock[0])
        made = scheduler.create("evaluate", {}, cron="0 * * * *", by="ann")
        store.schedules.remove(made.id)
        clock[0] += timedelta(hours=2)

        assert scheduler.tick() == []
