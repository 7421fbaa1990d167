"""What the ledger's tests share: entries, a home for a ledger, disks that fail on demand."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hanlin.audit import Disk, Entry, Ledger, LedgerKeys

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry(number: int = 0, **changes: Any) -> Entry:
    """Return an entry that is told apart by its number."""
    values: dict[str, Any] = {
        "kind": "prediction",
        "action": "predict",
        "actor": "key:abcd1234",
        "workspace": "default",
        "subject": f"customer-{number % 3}",
        "request_id": f"req_{number:06d}",
        "at": NOON + timedelta(seconds=number),
        "ip": "10.1.2.3",
        "status": 200,
        "details": {"model": "reviews", "version": 1, "label": "负面", "score_millionths": 987_654},
        "request": f'{{"input":"第{number}条：服务太差了"}}'.encode(),
        "result": b'{"label":"bad"}',
        "latency_us": 1000 + number,
        "queue_us": 100,
        "compute_us": 800,
    }
    return Entry(**(values | changes))


@dataclass
class Home:
    """A data folder with a ledger in it."""

    path: Path
    keys: LedgerKeys

    @classmethod
    def at(cls, path: Path) -> Home:
        """Make one at *path*."""
        return cls(path, LedgerKeys.load(path / "secrets"))

    @property
    def root(self) -> Path:
        """Where the logs are."""
        return self.path / "ledger"

    def open(self, writer: str = "gateway", **options: Any) -> Ledger:
        """Open a log."""
        return Ledger.open(self.root, writer, keys=self.keys, **options)

    def fill(self, count: int, writer: str = "gateway", **options: Any) -> list[str]:
        """Append *count* entries, close, and return their leaf hashes."""
        with self.open(writer, **options) as ledger:
            return [ledger.append_sync(entry(number)).leaf_hash for number in range(count)]

    def segments(self, writer: str = "gateway") -> list[Path]:
        """Return the segment files of a log, oldest first."""
        return sorted((self.root / writer).glob("*.log"))


@dataclass
class FailingDisk(Disk):
    """A disk that runs full, loses its fsync or holds it back, as told."""

    room_bytes: int | None = None
    sync_error: int | None = None
    sync_gate: threading.Event = field(default_factory=threading.Event)
    syncing: threading.Event = field(default_factory=threading.Event)
    loses_unsynced: bool = False
    _unsynced: dict[int, tuple[int, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sync_gate.set()

    def write(self, file: int, data: bytes, offset: int) -> None:
        """Write as much as fits."""
        if self.room_bytes is not None:
            fits = data[: max(0, self.room_bytes - offset)]
            super().write(file, fits, offset)
            if len(fits) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return
        super().write(file, data, offset)
        self._unsynced[file] = (offset, data)

    def reserve(self, file: int, offset: int, size: int) -> None:
        """Compare with the room there is."""
        if self.room_bytes is not None and offset + size > self.room_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().reserve(file, offset, size)

    def sync(self, file: int) -> None:
        """Wait at the gate, then succeed or fail as told."""
        self.syncing.set()
        self.sync_gate.wait()
        if self.sync_error is not None:
            if self.loses_unsynced and file in self._unsynced:
                offset, data = self._unsynced[file]
                os.pwrite(file, bytes(len(data)), offset)
            raise OSError(self.sync_error, os.strerror(self.sync_error))
        super().sync(file)


class CarelessDisk(Disk):
    """A disk that claims to have synced: for tests that cut files by themselves, hundreds of times."""

    def sync(self, file: int) -> None:
        """Do nothing."""

    def sync_folder(self, folder: Path) -> None:
        """Do nothing."""


def eventually(is_true: Callable[[], bool], within_s: float = 5.0) -> None:
    """Return once *is_true*; fails when that takes too long."""
    deadline = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
