"""
The segment files of one log.

    ledger/gateway/
        lock                     held by the writer
        checkpoint               the newest signed checkpoint
        0000000000000000.log     records 0 …      header, then frames
        0000000000031744.log     records 31744 …

The header carries the tree's frontier at the segment's first record under a signed checkpoint of exactly that size,
so that opening a log reads its last segment only, and trusts nothing that is not signed.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hanlin.audit.faults import DamageError
from hanlin.audit.tree import Frontier

MAGIC = b"HLs1"
HEAD = struct.Struct("<4sII")
SUFFIX = ".log"
CHECKPOINT = "checkpoint"
LOCK = "lock"
LARGEST_HEADER = 1 << 16


class SegmentHeader(msgspec.Struct, frozen=True):
    """What a segment says of everything before it; the times are those of the segment just before, in µs."""

    writer: str
    first: int
    frontier: list[bytes]
    checkpoint: str
    earliest_us: int
    latest_us: int

    def tree(self) -> Frontier:
        """Return the tree as it was before the segment's first record."""
        return Frontier(self.first, list(self.frontier))

    def encoded(self) -> bytes:
        """Return the bytes the file begins with."""
        body = msgspec.json.encode(self)
        return HEAD.pack(MAGIC, len(body), zlib.crc32(body)) + body


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment file."""

    path: Path
    first: int

    @classmethod
    def at(cls, folder: Path, first: int) -> Segment:
        """Return the segment in *folder* whose first record has index *first*."""
        return cls(folder / f"{first:016d}{SUFFIX}", first)


def list_segments(folder: Path) -> list[Segment]:
    """Return the segments of the log in *folder*, oldest first."""
    names = sorted(path.stem for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit())
    return [Segment.at(folder, int(name)) for name in names]


@contextmanager
def reading(path: Path) -> Iterator[tuple[int, int]]:
    """Open *path* for reading and give its descriptor and its size at this moment."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield file, os.fstat(file).st_size
    finally:
        os.close(file)


def read_header(file: int, segment: Segment) -> tuple[SegmentHeader, int]:
    """Return the header and the offset of the first frame; raises DamageError."""
    data = os.pread(file, LARGEST_HEADER, 0)
    try:
        magic, length, crc = HEAD.unpack_from(data)
        body = data[HEAD.size : HEAD.size + length]
        if magic != MAGIC or zlib.crc32(body) != crc:
            raise DamageError(segment.first, "the segment's header was changed", path=segment.path, offset=0)
        return msgspec.json.decode(body, type=SegmentHeader), HEAD.size + length
    except (struct.error, msgspec.MsgspecError) as error:
        raise DamageError(segment.first, "the segment has no header", path=segment.path, offset=0) from error
