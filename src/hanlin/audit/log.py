"""
The log of one writer, for one thread: groups of records go in, and are on the device when `append` returns.

    append ──► new subject keys synced ──► one write ──► one fdatasync ──► the tree moves on

When any step fails, nothing moved: the tree, the tip and what was promised are as before, and `repair` makes the file
agree with them again.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from hanlin.audit.checkpoints import Checkpoint
from hanlin.audit.disk import DISK_FULL, Disk
from hanlin.audit.encoding import Sealed, seal
from hanlin.audit.entry import Entry, Receipt
from hanlin.audit.faults import DamageError, corrupt
from hanlin.audit.frames import FrameError, encode_frame, iter_frames
from hanlin.audit.keys import LedgerKeys
from hanlin.audit.recovery import Tip, begin_segment, recover
from hanlin.audit.segments import CHECKPOINT, LOCK, read_header
from hanlin.audit.subjects import SubjectKeys
from hanlin.audit.tree import Frontier, hash_leaf
from hanlin.domain import ConflictError, InvalidInputError

HEADROOM_BYTES = 256 << 10
WRITER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Log:
    """One writer's log, held open and locked."""

    def __init__(
        self, folder: Path, writer: str, *, keys: LedgerKeys, disk: Disk, segment_bytes: int, lock: int, tip: Tip
    ) -> None:
        self.writer = writer
        self._folder, self._keys, self._disk, self._segment_bytes = folder, keys, disk, segment_bytes
        self._lock, self._tip = lock, tip
        self._subjects = SubjectKeys(keys, writer, disk)
        self._file = disk.open(tip.segment.path)
        self._signed_size = -1

    @classmethod
    def open(cls, root: Path, writer: str, *, keys: LedgerKeys, disk: Disk, segment_bytes: int) -> Self:
        """
        Open *writer*'s log below *root*, recovered from whatever happened before; a new one is begun.

        Raises ConflictError: ``ledger_locked`` while another process writes it, ``ledger_corrupt`` when acknowledged
        records changed or are gone.
        """
        if not WRITER_NAME.fullmatch(writer):
            raise InvalidInputError(f"{writer!r} cannot name a log", hint="lower-case letters, digits, - and _")
        folder = root / writer
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        disk.sync_folder(root)
        lock = _locked(folder, writer)
        try:
            tip = recover(folder, writer, keys, disk)
            return cls(folder, writer, keys=keys, disk=disk, segment_bytes=segment_bytes, lock=lock, tip=tip)
        except DamageError as damage:
            os.close(lock)
            raise corrupt(writer, damage) from damage
        except BaseException:
            os.close(lock)
            raise

    @property
    def size(self) -> int:
        """How many records are durable."""
        return self._tip.tree.size

    @property
    def root(self) -> bytes:
        """The root of the tree over the durable records."""
        return self._tip.tree.root()

    @property
    def has_unsigned(self) -> bool:
        """Whether records were added since the newest checkpoint."""
        return self._signed_size != self.size

    def seal(self, entry: Entry) -> Sealed:
        """Make *entry* ready to be appended; may be called from any thread."""
        return seal(entry, self.writer, self._subjects.key_for)

    def append(self, group: Sequence[Sealed]) -> list[Receipt]:
        """Write *group* in order and return its receipts; all of it is durable then. Raises OSError: none of it is."""
        if self._tip.end >= self._segment_bytes:
            self._rotate()
        tip = self._tip
        tree, times, frames, receipts = tip.tree.copy(), tip.times, [], []
        for sealed in group:
            leaf = sealed.leaf(tree.size)
            leaf_hash = hash_leaf(leaf)
            frames.append(encode_frame(tree.size, tip.tree.size, leaf, sealed.private))
            receipts.append(Receipt(self.writer, tree.size, leaf_hash.hex()))
            times = times.widened(sealed.at_us)
            tree.push(leaf_hash)
        data = b"".join(frames)
        self._subjects.flush()
        self._disk.write(self._file, data, tip.end)
        self._disk.sync(self._file)
        self._tip = Tip(tip.segment, tip.end + len(data), tree, times)
        return receipts

    def sign(self) -> None:
        """Publish a checkpoint of the durable records; raises OSError."""
        checkpoint = Checkpoint(self._keys.origin(self.writer), self.size, self.root)
        self._disk.publish(self._folder / CHECKPOINT, checkpoint.signed(self._keys.signing).encode())
        self._signed_size = checkpoint.size

    def repair(self, cause: OSError) -> None:
        """
        Make the file end where durability ends, after *cause* made an operation fail.

        After a full disk there must be room for more than one record, or the log would stop again at once.
        After anything but a full disk the page cache is not to be trusted (a failed fsync marks pages clean that
        never reached the device): the file is opened anew and read back from the device. Raises OSError while the
        disk still fails, ConflictError (``ledger_corrupt``) when acknowledged records are gone.
        """
        if cause.errno in DISK_FULL:
            self._disk.reserve(self._file, self._tip.end, HEADROOM_BYTES)
        else:
            fresh = self._disk.open(self._tip.segment.path)
            self._disk.close(self._file)
            self._file = fresh
            self._disk.forget(fresh)
            self._check_durable()
        self._disk.truncate(self._file, self._tip.end)
        self._disk.sync(self._file)

    def close(self) -> None:
        """Let go of the files and the lock."""
        self._disk.close(self._file)
        self._subjects.close()
        os.close(self._lock)

    def _rotate(self) -> None:
        tip = begin_segment(self._folder, self.writer, self._keys, self._disk, self._tip.tree, self._tip.times)
        fresh = self._disk.open(tip.segment.path)
        self._disk.close(self._file)
        self._file, self._tip = fresh, tip

    def _check_durable(self) -> None:
        """Read the acknowledged records of the current segment back and hold them against the tree in memory."""
        tip = self._tip
        try:
            header, start = read_header(self._file, tip.segment)
            tree: Frontier = header.tree()
            for frame in iter_frames(self._file, start, tip.end):
                tree.push(hash_leaf(frame.leaf))
        except FrameError as error:
            raise corrupt(self.writer, DamageError(tree.size, error.what, path=tip.segment.path)) from error
        except DamageError as damage:
            raise corrupt(self.writer, damage) from damage
        if tree != tip.tree:
            raise corrupt(self.writer, DamageError(tip.segment.first, "the device holds other records than were sent"))


def _locked(folder: Path, writer: str) -> int:
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise ConflictError(
            f"log {writer!r} is being written by another process",
            code="ledger_locked",
            hint="one process writes one log; stop the other one first",
        ) from error
    return lock
