"""
Opening a log after whatever happened to it.

What a crash leaves behind is put right: the rest of an interrupted write is cut off. What a crash cannot have done is
refused: an acknowledged record that changed or is gone, a checkpoint that the records contradict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hanlin.audit.checkpoints import Checkpoint
from hanlin.audit.disk import Disk
from hanlin.audit.faults import DamageError
from hanlin.audit.frames import Frame
from hanlin.audit.keys import LedgerKeys
from hanlin.audit.segments import CHECKPOINT, Segment, SegmentHeader, list_segments
from hanlin.audit.tree import EMPTY_ROOT, Frontier
from hanlin.audit.walk import Walk


class Times(msgspec.Struct):
    """The span of the records in a segment, by their own clocks."""

    earliest_us: int = 0
    latest_us: int = 0

    def widened(self, at_us: int) -> Times:
        """Return the span with one more record in it."""
        if not self.latest_us:
            return Times(at_us, at_us)
        return Times(min(self.earliest_us, at_us), max(self.latest_us, at_us))


@dataclass(slots=True)
class Tip:
    """Where a log goes on: the segment being written, its durable length, and the tree so far."""

    segment: Segment
    end: int
    tree: Frontier
    times: Times


class _When(msgspec.Struct):
    at_us: int


_when = msgspec.json.Decoder(_When)


def recover(folder: Path, writer: str, keys: LedgerKeys, disk: Disk) -> Tip:
    """
    Return the tip of the log in *folder*, with the tail of an interrupted write cut off; a new log is begun.

    Reads the last segment, and the one before it where the newest checkpoint is older. Raises DamageError, and then
    has changed nothing. Everything the tip stands for is on the device on return.
    """
    segments = list_segments(folder)
    checkpoint = _newest_checkpoint(folder, writer, keys, segments)
    if checkpoint is None:
        disk.publish(folder / CHECKPOINT, Checkpoint(keys.origin(writer), 0, EMPTY_ROOT).signed(keys.signing).encode())
    if not segments:
        return begin_segment(folder, writer, keys, disk, Frontier(), Times())
    return _resume(segments, checkpoint or Checkpoint("", 0, EMPTY_ROOT), writer, keys, disk)


def begin_segment(folder: Path, writer: str, keys: LedgerKeys, disk: Disk, tree: Frontier, before: Times) -> Tip:
    """Create the segment whose first record is the next one; it is there whole and for good, or not at all."""
    segment = Segment.at(folder, tree.size)
    note = Checkpoint(keys.origin(writer), tree.size, tree.root()).signed(keys.signing)
    header = SegmentHeader(writer, tree.size, tree.peaks, note, before.earliest_us, before.latest_us).encoded()
    disk.publish(segment.path, header)
    return Tip(segment, len(header), tree.copy(), Times())


def read_checkpoint(folder: Path, origin: str, keys: LedgerKeys) -> Checkpoint | None:
    """Return the newest checkpoint, or None when there is none; raises ValueError when it does not count."""
    path = folder / CHECKPOINT
    return Checkpoint.verified(path.read_text("utf-8"), origin, keys.public) if path.exists() else None


def _newest_checkpoint(folder: Path, writer: str, keys: LedgerKeys, segments: Sequence[Segment]) -> Checkpoint | None:
    try:
        checkpoint = read_checkpoint(folder, keys.origin(writer), keys)
    except ValueError as error:
        raise DamageError(0, str(error)) from error
    if checkpoint is None and segments:
        raise DamageError(0, "there are records but no checkpoint")
    if checkpoint is not None and checkpoint.size and not segments:
        raise DamageError(0, f"the record is missing: {checkpoint.size} were signed, none is there")
    return checkpoint


def _resume(segments: Sequence[Segment], checkpoint: Checkpoint, writer: str, keys: LedgerKeys, disk: Disk) -> Tip:
    unsigned = [segment for segment in segments if segment.first > checkpoint.size]
    first = len(segments) - len(unsigned) - 1
    if first < 0:
        raise DamageError(0, f"the record is missing: the first segment begins at {segments[0].first}")
    walk = Walk(writer, keys.origin(writer), keys.public, checkpoint)
    times = _exhaust(walk.frames(segments[first:]), since=segments[-1].first)
    file = disk.open(segments[-1].path)
    try:
        if walk.torn_bytes:
            disk.truncate(file, walk.end)
        disk.sync(file)  # records of the last group may be whole without having been synced
    finally:
        disk.close(file)
    return Tip(segments[-1], walk.end, walk.tree, times)


def _exhaust(frames: Iterable[Frame], *, since: int) -> Times:
    times = Times()
    for frame in frames:
        if frame.index >= since:
            times = times.widened(_when.decode(frame.leaf).at_us)
    return times
