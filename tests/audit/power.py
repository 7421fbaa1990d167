"""A disk that remembers every operation, and can say what would be left had the power gone at any of them."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from pathlib import Path

from hanlin.audit import Disk

SECTOR = 512


@dataclass(frozen=True)
class Operation:
    """One step: what was done, to which path, with which data or target."""

    verb: str
    path: Path = field(default_factory=Path)
    data: bytes = b""
    number: int = 0
    target: Path = field(default_factory=Path)


class RecordingDisk(Disk):
    """Does everything for real and writes it down. Paths are kept relative to *base*."""

    def __init__(self, base: Path) -> None:
        self.operations: list[Operation] = []
        self._base, self._files, self._lock = base, dict[int, Path](), threading.Lock()

    def acknowledge(self, index: int, leaf_hash: str) -> None:
        """Note that somebody was told that record *index* is durable."""
        self._note(Operation("acknowledge", data=leaf_hash.encode(), number=index))

    def open(self, path: Path, *, create: bool = False) -> int:
        """Open it, and remember its path."""
        file = super().open(path, create=create)
        with self._lock:
            self._files[file] = path.relative_to(self._base)
        if create:
            self._note(Operation("create", self._files[file]))
        return file

    def write(self, file: int, data: bytes, offset: int) -> None:
        """Write."""
        super().write(file, data, offset)
        self._note(Operation("write", self._files[file], data, offset))

    def sync(self, file: int) -> None:
        """Sync."""
        super().sync(file)
        self._note(Operation("sync", self._files[file]))

    def truncate(self, file: int, size: int) -> None:
        """Truncate."""
        super().truncate(file, size)
        self._note(Operation("truncate", self._files[file], number=size))

    def reserve(self, file: int, offset: int, size: int) -> None:
        """Stay unused."""
        raise NotImplementedError("no test fills this disk")

    def replace(self, source: Path, target: Path) -> None:
        """Replace."""
        super().replace(source, target)
        self._note(Operation("replace", source.relative_to(self._base), target=target.relative_to(self._base)))

    def sync_folder(self, folder: Path) -> None:
        """Sync the names."""
        super().sync_folder(folder)
        self._note(Operation("sync_folder", folder.relative_to(self._base)))

    def replay(self, into: Path, *, until: int, seed: random.Random) -> dict[int, str]:
        """Leave below *into* what a power cut after *until* operations may leave; return what was acknowledged."""
        device = _Device(seed)
        acknowledged = {}
        for operation in self.operations[:until]:
            if operation.verb == "acknowledge":
                acknowledged[operation.number] = operation.data.decode()
            else:
                device.do(operation)
        device.leave(into)
        return acknowledged

    def _note(self, operation: Operation) -> None:
        with self._lock:
            self.operations.append(operation)


class _File:
    """One file: what is on the device, and what is only on its way."""

    def __init__(self) -> None:
        self.durable = b""
        self.pending: list[Operation] = []

    def settle(self) -> None:
        for operation in self.pending:
            self.durable = _applied(self.durable, operation)
        self.pending = []

    def left(self, seed: random.Random) -> bytes:
        """Return what a cut may leave: nothing, all, or any sectors of what was on its way."""
        content, mood = self.durable, seed.choice(["none", "all", "some"])
        for operation in self.pending if mood != "none" else []:
            if operation.verb == "truncate" or mood == "all":
                content = _applied(content, operation)
                continue
            for at in range(0, len(operation.data), SECTOR):
                if seed.random() < 0.5:
                    piece = Operation("write", data=operation.data[at : at + SECTOR], number=operation.number + at)
                    content = _applied(content, piece)
        return content


class _Device:
    """A file system that keeps a name only once its folder was synced, and may keep it earlier."""

    def __init__(self, seed: random.Random) -> None:
        self._seed = seed
        self._now: dict[Path, _File] = {}
        self._durable: dict[Path, _File] = {}

    def do(self, operation: Operation) -> None:
        path = operation.path
        if operation.verb == "create":
            self._now.setdefault(path, _File())
        elif operation.verb == "replace":
            self._now[operation.target] = self._now.pop(path)
        elif operation.verb == "sync_folder":
            self._sync_names(path)
        elif operation.verb == "sync":
            self._now[path].settle()
        else:
            self._now[path].pending.append(operation)

    def leave(self, into: Path) -> None:
        names = self._durable if self._seed.random() < 0.5 else self._now
        into.mkdir(parents=True)
        for path, file in names.items():
            (into / path).parent.mkdir(parents=True, exist_ok=True)
            (into / path).write_bytes(file.left(self._seed))

    def _sync_names(self, folder: Path) -> None:
        for path in [path for path in self._durable if path.parent == folder and path not in self._now]:
            del self._durable[path]
        self._durable |= {path: file for path, file in self._now.items() if path.parent == folder}


def _applied(content: bytes, operation: Operation) -> bytes:
    if operation.verb == "truncate":
        return content[: operation.number].ljust(operation.number, b"\0")
    end = operation.number + len(operation.data)
    return content[: operation.number].ljust(operation.number, b"\0") + operation.data + content[end:]
