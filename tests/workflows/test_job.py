from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hanlin.domain import Task, TaskId
from hanlin.workflows import EventWriter, JobContext, run_job
from hanlin.workflows.events import (
    ErrorEvent,
    JobEvent,
    LogEvent,
    MetricEvent,
    ProgressEvent,
    ResultEvent,
    decode_event,
)
from hanlin.workflows.holders import is_gone, new_holder
from hanlin.workflows.pace import Pace

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
TASK = Task(id=TaskId("task_1"), kind="count", params={}, created_by="ann", created_at=NOON, run_at=NOON)


class Channel:
    """The pipe between job and worker, as a file."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("wb", buffering=0)
        self.writer = EventWriter(self._file.fileno())

    def events(self) -> list[JobEvent | None]:
        """Return what was said so far."""
        return [decode_event(line) for line in self._path.read_bytes().splitlines()]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Channel]:
    channel = Channel(tmp_path / "events.jsonl")
    yield channel
    channel.close()


class TestRunJob:
    def test_a_finished_job_is_not_done_again(self, channel: Channel, tmp_path: Path) -> None:
        """When the worker died before it could apply the result, the next attempt only says it again."""
        calls: list[int] = []

        def work(_: JobContext) -> Mapping[str, Any]:
            calls.append(1)
            return {"digest": "sha256:1"}

        statuses = [run_job(work, TASK, tmp_path / "task", out=channel.writer) for _ in range(2)]

        assert (statuses, len(calls)) == ([0, 0], 1)
        first, second = channel.events()
        assert isinstance(first, ResultEvent)
        assert first == second

    def test_a_full_disk_has_a_code_of_its_own(self, channel: Channel, tmp_path: Path) -> None:
        """No space left on the device is storage_full, not a bug."""

        def work(_: JobContext) -> Mapping[str, Any]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        assert run_job(work, TASK, tmp_path / "task", out=channel.writer) == 1
        assert [e.code for e in channel.events() if isinstance(e, ErrorEvent)] == ["storage_full"]

    def test_a_result_that_is_no_json_is_a_bug_with_a_trace(self, channel: Channel, tmp_path: Path) -> None:
        """Whatever goes wrong in a job ends in an error event, and the log tells why."""

        def work(_: JobContext) -> Mapping[str, Any]:
            return {1: object()}  # type: ignore[dict-item]

        def broken(_: JobContext) -> Mapping[str, Any]:
            return 5  # type: ignore[return-value]

        assert run_job(work, TASK, tmp_path / "a", out=channel.writer) == 0
        assert run_job(broken, TASK, tmp_path / "b", out=channel.writer) == 1
        assert "TypeError" in str([e.fields for e in channel.events() if isinstance(e, LogEvent)])


class TestEventWriter:
    def test_says_what_a_reporter_is_told(self, channel: Channel) -> None:
        """Any value can be logged; a loss that is no number is null; progress is thinned out, its end is not."""
        channel.writer.metric("loss", 3, float("nan"))
        channel.writer.log("read", path=Path("/x"), name="语料")
        for n in range(1, 101):
            channel.writer.progress(n, 100, "row")

        metric, log, *progress = channel.events()
        assert isinstance(metric, MetricEvent)
        assert metric.value is None
        assert isinstance(log, LogEvent)
        assert log.fields == {"path": "/x", "name": "语料"}
        assert len(progress) < 20
        assert isinstance(progress[-1], ProgressEvent)
        assert progress[-1].done == 100

    def test_shortens_a_line_that_is_far_too_long(self, channel: Channel) -> None:
        """A log line is bounded, whatever a job puts into it."""
        channel.writer.log("much", data="x" * 1_000_000)

        (line,) = channel.events()
        assert isinstance(line, LogEvent)
        assert "data" not in line.fields


class TestPace:
    def test_estimates_the_time_left_from_this_attempt(self) -> None:
        """Work that was resumed at 80 of 100 and does one a second needs twenty seconds, not five."""
        pace = Pace()
        first = pace.seen(ProgressEvent(0.0, 80, 100, "step"))
        later = pace.seen(ProgressEvent(10.0, 90, 100, "step"))

        assert "time_left_s" not in first
        assert (later["rate_per_s"], later["time_left_s"]) == (1.0, 10.0)

    def test_starts_anew_with_a_new_phase(self) -> None:
        """Another total or unit says nothing about the rate of what comes."""
        pace = Pace()
        pace.seen(ProgressEvent(0.0, 1, 100, "row"))
        pace.seen(ProgressEvent(1.0, 50, 100, "row"))

        assert "time_left_s" not in pace.seen(ProgressEvent(2.0, 60, 500, "step"))


class TestHolders:
    def test_a_process_of_this_machine_is_known_to_be_gone(self) -> None:
        """A dead worker's lease need not run out; a living one's, and one of another machine, are left alone."""
        mine = new_holder()
        place, pid, started, rest = mine.split("/")

        assert not is_gone(mine)
        assert is_gone(f"{place}/{pid}/{int(started) - 1}/{rest}")
        assert not is_gone(f"elsewhere/{pid}/1/{rest}")
        assert not is_gone("w1")
