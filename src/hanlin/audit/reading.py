"""Reading the frames of one log in either direction, also while it is being written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from hanlin.audit.faults import DamageError
from hanlin.audit.frames import Frame, FrameError, iter_frames, iter_frames_after_damage, iter_frames_backward
from hanlin.audit.segments import Segment, SegmentHeader, list_segments, read_header, reading


def list_writers(root: Path) -> list[str]:
    """Return the names of the logs below *root*, in order."""
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def iter_oldest_first(folder: Path, start: int, since_us: int | None = None) -> Iterator[Frame]:
    """
    Yield the frames from index *start* on; segments that end before *since_us* are passed over unread.

    A write under way at the end is passed over; raises DamageError where a record cannot be read.
    """
    segments = list_segments(folder)
    for segment, after in zip(segments, [*segments[1:], None], strict=True):
        if after is not None and (after.first <= start or _ended_before(after, since_us)):
            continue
        with reading(segment.path) as (file, size):
            _, offset = read_header(file, segment)
            frames = iter_frames(file, offset, size) if after else _iter_growing(file, offset, size)
            for frame in _naming_damage(frames, segment, step=1):
                if frame.index >= start:
                    yield frame


def iter_newest_first(folder: Path, end: int | None = None, until_us: int | None = None) -> Iterator[Frame]:
    """
    Yield the frames below index *end*, last first; segments that begin after *until_us* are passed over unread.

    A write under way at the end is passed over; raises DamageError where a record cannot be read.
    """
    is_late = False
    for segment in reversed(list_segments(folder)):
        if (end is None or segment.first < end) and not is_late:
            with reading(segment.path) as (file, size):
                _, offset = read_header(file, segment)
                for frame in _naming_damage(_iter_growing_backward(file, offset, size), segment, step=-1):
                    if end is None or frame.index < end:
                        yield frame
        is_late = _previous_began_after(segment, until_us)


def _naming_damage(frames: Iterable[Frame], segment: Segment, *, step: int) -> Iterator[Frame]:
    """Yield *frames*; what cannot be read is told by its index."""
    index = segment.first
    try:
        for frame in frames:
            yield frame
            index = frame.index + step
    except FrameError as error:
        raise DamageError(index, error.what, path=segment.path, offset=error.offset) from error


def _iter_growing(file: int, start: int, size: int) -> Iterator[Frame]:
    """Yield the frames of a segment up to a write that is under way: one with no whole record behind it."""
    try:
        yield from iter_frames(file, start, size)
    except FrameError as error:
        if any(iter_frames_after_damage(file, error.offset, size)):
            raise


def _iter_growing_backward(file: int, start: int, size: int) -> Iterator[Frame]:
    """Yield the frames of a segment last first, from the last whole one on."""
    try:
        yield from iter_frames_backward(file, start, size)
    except FrameError as error:
        if error.offset != size:
            raise
    else:
        return
    last = start
    for frame in _iter_growing(file, start, size):
        last = frame.end
    yield from iter_frames_backward(file, start, last)


def _ended_before(following: Segment, since_us: int | None) -> bool:
    return since_us is not None and _header(following).latest_us < since_us


def _previous_began_after(segment: Segment, until_us: int | None) -> bool:
    return until_us is not None and segment.first > 0 and _header(segment).earliest_us > until_us


def _header(segment: Segment) -> SegmentHeader:
    with reading(segment.path) as (file, _):
        return read_header(file, segment)[0]
