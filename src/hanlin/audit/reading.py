"""Reading the frames of one log in either direction, also while it is being written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hanlin.audit.frames import Frame, FrameError, iter_frames, iter_frames_backward
from hanlin.audit.segments import Segment, SegmentHeader, list_segments, read_header, reading


def list_writers(root: Path) -> list[str]:
    """Return the names of the logs below *root*, in order."""
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def iter_oldest_first(folder: Path, start: int, since_us: int | None = None) -> Iterator[Frame]:
    """Yield the frames from index *start* on; segments that end before *since_us* are passed over unread."""
    segments = list_segments(folder)
    for number, segment in enumerate(segments):
        after = segments[number + 1] if number + 1 < len(segments) else None
        if after is not None and (after.first <= start or _ended_before(after, since_us)):
            continue
        with reading(segment.path) as (file, size):
            _, offset = read_header(file, segment)
            for frame in _until_torn(iter_frames(file, offset, size)):
                if frame.index >= start:
                    yield frame


def iter_newest_first(folder: Path, end: int | None = None, until_us: int | None = None) -> Iterator[Frame]:
    """Yield the frames below index *end*, last first; segments that begin after *until_us* are passed over unread."""
    is_late = False
    for segment in reversed(list_segments(folder)):
        if (end is None or segment.first < end) and not is_late:
            with reading(segment.path) as (file, size):
                _, offset = read_header(file, segment)
                for frame in _backward(file, offset, size):
                    if end is None or frame.index < end:
                        yield frame
        is_late = _previous_began_after(segment, until_us)


def _backward(file: int, start: int, size: int) -> Iterator[Frame]:
    """Yield the frames of one segment, last first, from the last whole one on: behind it a write may be under way."""
    try:
        yield from iter_frames_backward(file, start, size)
    except FrameError as error:
        if error.offset != size:
            raise
    else:
        return
    last = start
    for frame in _until_torn(iter_frames(file, start, size)):
        last = frame.end
    yield from iter_frames_backward(file, start, last)


def _until_torn(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Yield *frames* up to the first that is not whole; verification, not search, says whether that is damage."""
    try:
        yield from frames
    except FrameError:
        return


def _header(segment: Segment) -> SegmentHeader:
    with reading(segment.path) as (file, _):
        return read_header(file, segment)[0]


def _ended_before(following: Segment, since_us: int | None) -> bool:
    return since_us is not None and _header(following).latest_us < since_us


def _previous_began_after(segment: Segment, until_us: int | None) -> bool:
    return until_us is not None and segment.first > 0 and _header(segment).earliest_us > until_us
