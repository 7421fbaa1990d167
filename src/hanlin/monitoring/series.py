"""The time-series store: small, always there, so that charts and alerts need nothing else."""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from hanlin.monitoring.vocabulary import SeriesKey

logger = logging.getLogger(__name__)

Point: TypeAlias = tuple[float, float]
How: TypeAlias = Literal["avg", "max", "last"]

LIVE_POINTS = 600  # ten minutes at one point a second, in memory only
FINE_S, COARSE_S = 5, 60
KEEP_S: Mapping[int, float] = {FINE_S: 48 * 3600.0, COARSE_S: 30 * 86_400.0}
PRUNE_EVERY_S = 600.0
MOST_POINTS = 2000
MOST_LIVE_SERIES = 2000
SCHEMA = """
CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, name TEXT NOT NULL, subject TEXT NOT NULL,
  UNIQUE (name, subject));
CREATE TABLE IF NOT EXISTS points (series INTEGER NOT NULL, width INTEGER NOT NULL, at INTEGER NOT NULL,
  count INTEGER NOT NULL, total REAL NOT NULL, maximum REAL NOT NULL, last REAL NOT NULL,
  PRIMARY KEY (series, width, at)) WITHOUT ROWID;
"""
UPSERT = """
INSERT INTO points VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
  count = count + excluded.count, total = total + excluded.total, maximum = max(maximum, excluded.maximum),
  last = excluded.last
"""
VALUE: Mapping[How, str] = {"avg": "sum(total) / sum(count)", "max": "max(maximum)", "last": "last"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesSummary:
    """A stretch of a series in four figures."""

    count: int
    average: float
    maximum: float
    last: float


@dataclass(slots=True)
class _Bucket:
    count: int = 0
    total: float = 0.0
    maximum: float = -math.inf
    last: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.maximum = max(self.maximum, value)
        self.last = value


class SeriesStore:
    """
    Points of many series: the last ten minutes as they came, 48 hours in steps of 5 s, 30 days in minutes.

    Lives in one SQLite file of its own (WAL, synchronous=NORMAL: a power cut may cost the last seconds, never the
    file). Safe to share between threads.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._file = sqlite3.connect(path, check_same_thread=False, isolation_level="IMMEDIATE")
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
            self._file.execute(f"PRAGMA {pragma}")
        self._file.executescript(SCHEMA)
        self._ids: dict[SeriesKey, int] = {}
        self._live: dict[SeriesKey, deque[Point]] = {}
        self._open: dict[SeriesKey, _Bucket] = {}
        self._open_at = self._prune_at = 0.0

    def append(self, values: Mapping[SeriesKey, float], at: float | None = None) -> None:
        """Add one point to each series; written to disk once 5 s are full. Values that are not finite are left out."""
        at = self._clock() if at is None else at
        with self._lock:
            if at - at % FINE_S != self._open_at:
                self._flush()
                self._open_at = at - at % FINE_S
            for key, value in values.items():
                if math.isfinite(value):
                    self._live.setdefault(SeriesKey(*key), deque(maxlen=LIVE_POINTS)).append((at, value))
                    self._open.setdefault(SeriesKey(*key), _Bucket()).add(value)
            self._tidy(at)

    def query(
        self,
        name: str,
        subject: str,
        *,
        since_s: float = 900.0,
        step_s: float | None = None,
        how: How = "avg",
        until: float | None = None,
    ) -> list[Point]:
        """
        Return the points of the last *since_s* seconds, oldest first: the start of each step and its value.

        Without *step_s*, steps are chosen for about 300 points; there are never more than 2,000.
        """
        until = self._clock() if until is None else until
        since_s = min(since_s, KEEP_S[COARSE_S])
        step_s = max(step_s or max(1.0, since_s / 300), since_s / MOST_POINTS)
        key = SeriesKey(name, subject)
        live = self._live_points(key, until - since_s, until)
        if step_s < FINE_S and since_s <= LIVE_POINTS:
            return live if step_s <= 1 else _stepped(live, step_s, how)
        is_fine = step_s < COARSE_S and until - since_s >= self._clock() - KEEP_S[FINE_S]
        width = FINE_S if is_fine else COARSE_S
        step = math.ceil(step_s / width) * width
        return self._stored(key, width, step, until - since_s, until, how)

    def summary(self, name: str, subject: str, *, since_s: float) -> SeriesSummary | None:
        """Return the last *since_s* seconds in four figures, or None when there is no point."""
        width = FINE_S if since_s <= KEEP_S[FINE_S] else COARSE_S
        with self._lock:
            self._flush()
            row = self._file.execute(
                "SELECT sum(count), sum(total), max(maximum) FROM points JOIN series ON id = series"
                " WHERE name = ? AND subject = ? AND width = ? AND at >= ?",
                (name, subject, width, self._clock() - since_s - width),
            ).fetchone()
            last = self._file.execute(
                "SELECT last FROM points JOIN series ON id = series WHERE name = ? AND subject = ? AND width = ?"
                " ORDER BY at DESC LIMIT 1",
                (name, subject, width),
            ).fetchone()
        if not row[0]:
            return None
        return SeriesSummary(count=row[0], average=row[1] / row[0], maximum=row[2], last=last[0])

    def flush(self) -> None:
        """Write down what is still in memory."""
        with self._lock:
            self._flush()

    def close(self) -> None:
        """Write down what is still in memory and let go of the file."""
        self.flush()
        self._file.close()

    def _flush(self) -> None:
        if not self._open:
            return
        self._know(self._open)
        rows = [
            (self._ids[key], width, int(self._open_at - self._open_at % width), b.count, b.total, b.maximum, b.last)
            for key, b in self._open.items()
            if key in self._ids
            for width in KEEP_S
        ]
        self._open = {}
        self._write(UPSERT, rows)

    def _write(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Write in one transaction; where the disk is full the points are lost and everything else goes on."""
        try:
            with self._file:
                self._file.executemany(statement, rows)
        except sqlite3.OperationalError as error:
            logger.warning("series not written", extra={"error": str(error)})

    def _know(self, keys: Iterable[SeriesKey]) -> None:
        """Give every series of *keys* its number."""
        new = [key for key in keys if key not in self._ids]
        self._write("INSERT OR IGNORE INTO series (name, subject) VALUES (?, ?)", new)
        for key in new:
            row = self._file.execute("SELECT id FROM series WHERE name = ? AND subject = ?", key).fetchone()
            if row is not None:
                self._ids[key] = int(row[0])

    def _tidy(self, at: float) -> None:
        """Forget what is too old, on disk and in memory."""
        if at < self._prune_at:
            return
        self._prune_at = at + PRUNE_EVERY_S
        prune = "DELETE FROM points WHERE series IN (SELECT id FROM series) AND width = ? AND at < ?"
        self._write(prune, [(width, at - keep_s) for width, keep_s in KEEP_S.items()])
        fresh = sorted(self._live.items(), key=lambda item: item[1][-1][0])[-MOST_LIVE_SERIES:]
        self._live = {key: points for key, points in fresh if points[-1][0] > at - LIVE_POINTS}
        self._ids = {key: number for key, number in self._ids.items() if key in self._live}

    def _live_points(self, key: SeriesKey, since: float, until: float) -> list[Point]:
        with self._lock:
            return [point for point in self._live.get(key, ()) if since <= point[0] <= until]

    def _stored(self, key: SeriesKey, width: int, step: int, since: float, until: float, how: How) -> list[Point]:
        query = (
            f"SELECT at / {step} * {step} AS start, {VALUE[how]}, max(at) FROM points JOIN series ON id = series"  # noqa: S608 - a number and a constant
            " WHERE name = ? AND subject = ? AND width = ? AND at >= ? AND at <= ? GROUP BY start ORDER BY start"
        )
        with self._lock:
            self._flush()
            rows = self._file.execute(query, (*key, width, since - since % width, until)).fetchall()
        return [(float(start), float(value)) for start, value, _ in rows]


def _stepped(points: list[Point], step_s: float, how: How) -> list[Point]:
    buckets: dict[float, _Bucket] = {}
    for at, value in points:
        buckets.setdefault(at - at % step_s, _Bucket()).add(value)
    pick: Mapping[How, Callable[[_Bucket], float]] = {
        "avg": lambda b: b.total / b.count,
        "max": lambda b: b.maximum,
        "last": lambda b: b.last,
    }
    return [(at, pick[how](bucket)) for at, bucket in sorted(buckets.items())]
