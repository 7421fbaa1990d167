from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanlin.monitoring import SeriesKey, SeriesStore

KEY = SeriesKey("requests_per_s", "reviews")
NOON = 1_800_000_000.0


class FakeTime:
    """Seconds that go when told to."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        """Return the present instant."""
        return self.now


@pytest.fixture
def clock() -> FakeTime:
    return FakeTime()


@pytest.fixture
def series(tmp_path: Path, clock: FakeTime) -> Iterator[SeriesStore]:
    store = SeriesStore(tmp_path / "metrics.sqlite3", clock=clock)
    yield store
    store.close()


def run(series: SeriesStore, clock: FakeTime, seconds: int, value: float = 1.0, step: int = 1) -> None:
    for _ in range(0, seconds, step):
        series.append({KEY: value})
        clock.now += step


class TestSeriesStore:
    def test_shows_each_of_the_last_seconds(self, series: SeriesStore, clock: FakeTime) -> None:
        """A live chart has one point a second, at once."""
        for n in range(20):
            series.append({KEY: float(n)})
            clock.now += 1

        points = series.query(*KEY, since_s=10)

        assert points == [(NOON + n, float(n)) for n in range(10, 20)]

    def test_down_samples_by_average_maximum_or_last(self, series: SeriesStore, clock: FakeTime) -> None:
        """One step holds what its points were worth, in the way that was asked for."""
        for n in range(120):
            series.append({KEY: float(n % 10)})
            clock.now += 1

        found = {how: series.query(*KEY, since_s=120, step_s=10, how=how) for how in ("avg", "max", "last")}

        assert {how: points[0] for how, points in found.items()} == {
            "avg": (NOON, 4.5),
            "max": (NOON, 9.0),
            "last": (NOON, 9.0),
        }

    def test_survives_a_restart(self, tmp_path: Path, clock: FakeTime) -> None:
        """What was written is there again, in steps of five seconds."""
        first = SeriesStore(tmp_path / "metrics.sqlite3", clock=clock)
        run(first, clock, 30, value=2.0)
        first.close()
        second = SeriesStore(tmp_path / "metrics.sqlite3", clock=clock)

        assert second.query(*KEY, since_s=60, step_s=5) == [(NOON + 5 * n, 2.0) for n in range(6)]
        second.close()

    def test_keeps_fine_points_two_days_and_minutes_a_month(
        self, series: SeriesStore, clock: FakeTime, tmp_path: Path
    ) -> None:
        """Old points are thinned out, then forgotten; the file does not grow for ever."""
        run(series, clock, 3600, step=60)
        clock.now += 3 * 86_400
        run(series, clock, 60)
        assert len(series.query(*KEY, since_s=3600, step_s=60, until=NOON + 3600)) == 60
        clock.now += 31 * 86_400
        run(series, clock, 60)
        series.flush()

        rows = sqlite3.connect(tmp_path / "metrics.sqlite3").execute(
            "SELECT width, count(*) FROM points GROUP BY width"
        )
        assert dict(rows.fetchall()) == {5: 12, 60: 1}

    def test_never_returns_more_than_two_thousand_points(self, series: SeriesStore, clock: FakeTime) -> None:
        """Whatever step is asked for, a reply is bounded."""
        run(series, clock, 40_000, step=5)

        assert 1500 < len(series.query(*KEY, since_s=40_000, step_s=1)) <= 2001

    def test_sums_a_stretch_up(self, series: SeriesStore, clock: FakeTime) -> None:
        """A report gets count, average, maximum and last value."""
        run(series, clock, 50, value=1.0)
        run(series, clock, 50, value=3.0)

        summary = series.summary(*KEY, since_s=200)

        assert summary is not None
        assert (summary.count, summary.average, summary.maximum, summary.last) == (100, 2.0, 3.0, 3.0)
        assert series.summary("requests_per_s", "unknown", since_s=200) is None

    def test_leaves_out_what_is_not_a_number(self, series: SeriesStore) -> None:
        """Not a number is no point."""
        series.append({KEY: float("nan")})

        assert series.query(*KEY, since_s=60) == []

    def test_a_full_disk_costs_points_only(self, series: SeriesStore, clock: FakeTime) -> None:
        """Where nothing can be written, live charts go on and later points are kept again."""
        series._file.execute(f"PRAGMA max_page_count = {series._file.execute('PRAGMA page_count').fetchone()[0]}")
        for n in range(2000):
            series.append({SeriesKey("requests_per_s", f"d{n % 200}"): 1.0, KEY: 1.0})
            clock.now += 5
        series._file.execute("PRAGMA max_page_count = 100000")
        run(series, clock, 20, value=7.0)

        assert series.query(*KEY, since_s=15, step_s=5)[-1][1] == 7.0
