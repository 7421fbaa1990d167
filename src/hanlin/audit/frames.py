"""
How one record lies in a segment file.

    ┌──────┬─────────┬─────────┬───────┬─────────┬──────┬─────────┬─────┬───────┐
    │ HLr1 │ leaf    │ private │ index │ durable │ leaf │ private │ crc │ total │
    │      │ length  │ length  │       │         │      │ part    │     │ length│
    │ 4    │ 4       │ 4       │ 8     │ 8       │ …    │ …       │ 4   │ 4     │   little-endian
    └──────┴─────────┴─────────┴───────┴─────────┴──────┴─────────┴─────┴───────┘

*durable* is the number of records that were on the device when this one was written. It tells a torn write (the last
group, which nobody was promised) from damage to an acknowledged record: whatever a later intact frame calls durable
was. The total length at the end lets a reader walk backwards from the newest record.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator

import msgspec

MAGIC = b"HLr1"
HEAD = struct.Struct("<4sIIQQ")
TAIL = struct.Struct("<II")
SMALLEST = HEAD.size + TAIL.size
WINDOW_BYTES = 1 << 20


class FrameError(Exception):
    """The bytes at *offset* are not a whole, intact frame."""

    def __init__(self, what: str, offset: int) -> None:
        super().__init__(what)
        self.what, self.offset = what, offset


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One record as it lies in the file, from *offset* up to *end*."""

    index: int
    durable: int
    leaf: bytes
    private: bytes
    offset: int
    end: int


class Window:
    """Reads a file in large pieces, forwards or backwards, and serves small reads from the piece at hand."""

    def __init__(self, file: int, *, is_backward: bool = False) -> None:
        self._file, self._is_backward = file, is_backward
        self._start, self._data = 0, b""

    def read(self, offset: int, length: int) -> bytes:
        """Return *length* bytes at *offset*, fewer where the file ends."""
        at = offset - self._start
        if at < 0 or at + length > len(self._data):
            size = max(length, WINDOW_BYTES)
            self._start = max(0, offset + length - size) if self._is_backward else offset
            self._data = os.pread(self._file, size, self._start)
            at = offset - self._start
        return self._data[at : at + length]


def encode_frame(index: int, durable: int, leaf: bytes, private: bytes) -> bytes:
    """Return the bytes of one frame."""
    body = HEAD.pack(MAGIC, len(leaf), len(private), index, durable) + leaf + private
    return body + TAIL.pack(zlib.crc32(body), len(body) + TAIL.size)


def read_frame(window: Window, offset: int, limit: int) -> Frame:
    """Return the frame at *offset*, which must end at *limit* or before; raises FrameError."""
    head = window.read(offset, HEAD.size)
    if len(head) < HEAD.size or offset + SMALLEST > limit:
        raise FrameError("the file ends inside a record", offset)
    magic, leaf_length, private_length, index, durable = HEAD.unpack(head)
    if magic != MAGIC:
        raise FrameError("no record begins where one should", offset)
    total = SMALLEST + leaf_length + private_length
    if offset + total > limit:
        raise FrameError("the file ends inside a record", offset)
    data = window.read(offset, total)
    if len(data) < total:
        raise FrameError("the file ends inside a record", offset)
    crc, written_total = TAIL.unpack_from(data, total - TAIL.size)
    if zlib.crc32(memoryview(data)[: total - TAIL.size]) != crc or written_total != total:
        raise FrameError("its checksum does not fit its bytes", offset)
    middle = HEAD.size + leaf_length
    return Frame(index, durable, data[HEAD.size : middle], data[middle : total - TAIL.size], offset, offset + total)


def iter_frames(file: int, start: int, end: int) -> Iterator[Frame]:
    """Yield the frames between two offsets in order; raises FrameError at the first that is not intact."""
    window = Window(file)
    while start < end:
        frame = read_frame(window, start, end)
        yield frame
        start = frame.end


def iter_frames_backward(file: int, start: int, end: int) -> Iterator[Frame]:
    """Yield the frames between two offsets, last first; *end* must be the end of one. Raises FrameError."""
    window = Window(file, is_backward=True)
    while end > start:
        tail = window.read(max(start, end - TAIL.size), TAIL.size)
        total = TAIL.unpack(tail)[1] if len(tail) == TAIL.size else 0
        if not SMALLEST <= total <= end - start:
            raise FrameError("no record ends where one should", end)
        yield read_frame(window, end - total, end)
        end -= total


def iter_frames_after_damage(file: int, start: int, end: int) -> Iterator[Frame]:
    """Yield every intact frame that can still be found between two offsets, whatever lies between them."""
    data = os.pread(file, end - start, start)
    window = Window(file)
    at = data.find(MAGIC)
    while at >= 0:
        try:
            frame = read_frame(window, start + at, end)
        except FrameError:
            at = data.find(MAGIC, at + 1)
        else:
            yield frame
            at = data.find(MAGIC, frame.end - start)
