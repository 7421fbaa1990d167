"""A task's folder: what its job wrote, and how others read it while it is being written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import msgspec

MAX_LOG_BYTES = 64 * 1024 * 1024  # a job gone wild must not fill the disk
MAX_READ_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TaskFolder:
    """
    The paths of one task:

    ``log.jsonl`` lines for people · ``series.jsonl`` metric points · ``output.txt`` what libraries printed ·
    ``result.json`` what the finished job returned · ``job.lock`` held by the running job · ``work/`` the job's own
    """

    root: Path

    @property
    def log(self) -> Path:
        """The task's log."""
        return self.root / "log.jsonl"

    @property
    def series(self) -> Path:
        """The task's metric points."""
        return self.root / "series.jsonl"

    @property
    def output(self) -> Path:
        """What the job and its libraries printed."""
        return self.root / "output.txt"

    @property
    def result(self) -> Path:
        """What the job returned; kept so that finished work is not done twice."""
        return self.root / "result.json"

    @property
    def lock(self) -> Path:
        """Locked as long as a job (or a child of it) lives; holds its process id."""
        return self.root / "job.lock"

    @property
    def work(self) -> Path:
        """Checkpoints and whatever else the job needs to go on after a crash."""
        return self.root / "work"

    def create(self) -> None:
        """Make the folder, closed to others. Idempotent."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.work.mkdir(exist_ok=True, mode=0o700)


class LogLine(TypedDict):
    """One line of a task's log."""

    at: datetime
    message: str
    fields: dict[str, Any]


class LogPage(NamedTuple):
    """Some lines of a log; *next_after* asks for what comes later."""

    lines: list[LogLine]
    next_after: int


class _Point(msgspec.Struct, frozen=True, array_like=True):
    name: str
    step: int
    value: float | None


_log_line = msgspec.json.Decoder(LogLine)
_point = msgspec.json.Decoder(_Point)
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Journal:
    """
    Appends to a task's log and series; one writer at a time.

    A line is one write, so that a reader (or a successor after ``kill -9``) never sees half of an older one. Where the
    disk is full the line is lost and the task goes on: its result matters more.
    """

    def __init__(self, folder: TaskFolder) -> None:
        self._folder = folder

    def log(self, at: datetime, message: str, fields: Mapping[str, Any] | None = None) -> None:
        """Add one line to the log, unless the log is too long already."""
        if not self._folder.log.exists() or self._folder.log.stat().st_size < MAX_LOG_BYTES:
            _append(self._folder.log, _encode(LogLine(at=at, message=message, fields=dict(fields or {}))))

    def metric(self, name: str, step: int, value: float | None) -> None:
        """Add one point to the series *name*."""
        _append(self._folder.series, _encode(_Point(name, step, value)))


def _append(path: Path, line: bytes) -> None:
    try:
        with path.open("ab", buffering=0) as file:
            is_torn = file.tell() > 0 and _last_byte(path) != b"\n"
            file.write((b"\n" if is_torn else b"") + line + b"\n")
    except OSError:
        return


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1)


def read_log(folder: Path, after: int = 0, limit: int = 500) -> LogPage:
    """Return up to *limit* lines of a task's log behind the cursor *after* (0 at first, then the page's next_after)."""
    lines: list[LogLine] = []
    for line, end in _lines(TaskFolder(folder).log, after):
        if len(lines) == limit:
            break
        after = end
        if (parsed := _parsed(_log_line, line)) is not None:
            lines.append(parsed)
    return LogPage(lines=lines, next_after=after)


def read_series(folder: Path, max_points: int = 2000) -> dict[str, list[tuple[int, float]]]:
    """
    Return a task's metric series: name to points in step order.

    A step that was repeated after a resume counts once, as last written; longer series are thinned out evenly to
    *max_points*, first and last point kept.
    """
    series: dict[str, dict[int, float]] = {}
    for line, _ in _lines(TaskFolder(folder).series, 0, max_bytes=None):
        point = _parsed(_point, line)
        if point is not None and point.value is not None:
            series.setdefault(point.name, {})[point.step] = point.value
    return {name: _thinned(sorted(points.items()), max_points) for name, points in series.items()}


def _lines(path: Path, start: int, max_bytes: int | None = MAX_READ_BYTES) -> Iterator[tuple[bytes, int]]:
    """Yield whole lines with the position behind each."""
    if not path.exists():
        return
    with path.open("rb") as file:
        position = file.seek(max(0, start))
        for line in file:
            position += len(line)
            if not line.endswith(b"\n") or (max_bytes is not None and position - start > max_bytes):
                return
            yield line, position


def _parsed(decoder: msgspec.json.Decoder[Any], line: bytes) -> Any:
    try:
        return decoder.decode(line)
    except msgspec.DecodeError:
        return None


def _thinned(points: list[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    if len(points) <= most:
        return points
    last = len(points) - 1
    return [points[round(i * last / (most - 1))] for i in range(most)]
