from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hanlin.workflows import TaskFolder, read_log, read_series
from hanlin.workflows.folder import Journal

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class TestLog:
    def test_is_read_page_by_page(self, tmp_path: Path) -> None:
        """A cursor leads through a log that still grows; at its end it waits for more."""
        journal = Journal(TaskFolder(tmp_path))
        for n in range(5):
            journal.log(NOON, "步骤", {"n": n})

        first, cursor = read_log(tmp_path, limit=3)
        second, cursor = read_log(tmp_path, after=cursor)
        journal.log(NOON, "later")
        third, cursor = read_log(tmp_path, after=cursor)

        assert [line["fields"].get("n") for line in (*first, *second, *third)] == [0, 1, 2, 3, 4, None]
        assert read_log(tmp_path, after=cursor) == ([], cursor)
        assert first[0]["at"] == NOON

    def test_a_torn_line_costs_itself_only(self, tmp_path: Path) -> None:
        """After a power cut in the middle of a line the next one is whole."""
        journal = Journal(TaskFolder(tmp_path))
        journal.log(NOON, "first")
        with (tmp_path / "log.jsonl").open("a") as file:
            file.write('{"at": "2026-05-01T')
        journal.log(NOON, "second")

        assert [line["message"] for line in read_log(tmp_path).lines] == ["first", "second"]

    def test_a_task_that_has_said_nothing_has_an_empty_log(self, tmp_path: Path) -> None:
        """Reading before the job started is no error."""
        assert read_log(tmp_path / "none") == ([], 0)
        assert read_series(tmp_path / "none") == {}


class TestSeries:
    def test_a_repeated_step_counts_once(self, tmp_path: Path) -> None:
        """Steps done again after a resume replace what was written before; values that are no number are left out."""
        journal = Journal(TaskFolder(tmp_path))
        for step, value in [(1, 0.9), (2, 0.8), (3, 0.7), (2, 0.5), (3, None), (4, 0.4)]:
            journal.metric("loss", step, value)

        assert read_series(tmp_path) == {"loss": [(1, 0.9), (2, 0.5), (3, 0.7), (4, 0.4)]}

    def test_a_long_series_is_thinned_out(self, tmp_path: Path) -> None:
        """A chart gets a bounded number of points, the first and the last among them."""
        journal = Journal(TaskFolder(tmp_path))
        for step in range(1000):
            journal.metric("loss", step, 1.0)

        points = read_series(tmp_path, max_points=100)["loss"]

        assert (len(points), points[0][0], points[-1][0]) == (100, 0, 999)
