"""
Reading a log from its bytes and building its tree anew: the one way recovery, repair and verification look at it.

Nothing is believed that does not follow from a signed checkpoint: each segment must begin where the one before it
ends, with the same tree, and wherever a checkpoint speaks of a size, the tree must have that root there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hanlin.audit.checkpoints import Checkpoint
from hanlin.audit.faults import DamageError
from hanlin.audit.frames import Frame, FrameError, iter_frames, iter_frames_after_damage
from hanlin.audit.segments import Segment, SegmentHeader, read_header, reading
from hanlin.audit.tree import Frontier, hash_leaf


@dataclass(slots=True)
class Walk:
    """
    One pass over the segments of a log from a given one on; afterwards *tree* and *end* say how far it got.

    *torn_bytes* counts what lies behind the last whole record when that is the rest of an interrupted write.
    """

    writer: str
    origin: str
    key: Ed25519PublicKey
    checkpoint: Checkpoint
    tree: Frontier = field(default_factory=Frontier)
    end: int = 0
    torn_bytes: int = 0
    _signed_from: int = 0  # the records before this index are vouched for by a checkpoint that was checked

    def frames(self, segments: Sequence[Segment]) -> Iterator[Frame]:
        """
        Yield each record in order; it joins the tree when the next one is asked for.

        Raises DamageError at the first that is not what was written, or where a checkpoint is contradicted. A record
        is vouched for only once the walk has reached the next checkpoint: exhaust it before believing.
        """
        for number, segment in enumerate(segments):
            if number == 0:
                self.tree.size = self._signed_from = segment.first
            yield from self._segment(segment, is_first=number == 0, is_last=number == len(segments) - 1)
        if self.tree.size < self.checkpoint.size:
            signed, found = self.checkpoint.size, self.tree.size
            raise DamageError(found, f"the record is missing: {signed} were signed, {found} are there")

    def _segment(self, segment: Segment, *, is_first: bool, is_last: bool) -> Iterator[Frame]:
        with reading(segment.path) as (file, size):
            header, self.end = read_header(file, segment)
            self._enter(segment, header, is_first=is_first)
            try:
                for frame in iter_frames(file, self.end, size):
                    self._check_place(segment, frame)
                    yield frame
                    self._add(frame)
            except FrameError as error:
                if not is_last or self._was_durable(file, error.offset, size):
                    raise DamageError(self.tree.size, error.what, path=segment.path, offset=error.offset) from error
                self.torn_bytes = size - error.offset

    def _enter(self, segment: Segment, header: SegmentHeader, *, is_first: bool) -> None:
        if header.writer != self.writer or header.first != segment.first:
            raise DamageError(segment.first, f"the segment is of {header.writer!r} from record {header.first} on")
        if segment.first != self.tree.size:
            raise DamageError(self.tree.size, f"the record is missing: the next segment begins at {segment.first}")
        try:
            signed = Checkpoint.verified(header.checkpoint, self.origin, self.key)
        except ValueError as error:
            raise DamageError(segment.first, f"in the segment's header {error}", path=segment.path, offset=0) from error
        tree = header.tree()
        if signed.size != segment.first or signed.root != tree.root() or len(tree.peaks) != segment.first.bit_count():
            what = "the segment's header does not fit its own checkpoint"
            raise DamageError(segment.first, what, path=segment.path, offset=0)
        if not is_first and tree != self.tree:
            raise self._contradicted(signed.size)
        self.tree = tree
        self._signed_from = segment.first
        self._compare()

    def _check_place(self, segment: Segment, frame: Frame) -> None:
        if frame.index != self.tree.size:
            what = f"record {frame.index} stands in its place"
            raise DamageError(self.tree.size, what, path=segment.path, offset=frame.offset)
        if frame.durable > frame.index:
            what = "it claims more durable records than were written before it"
            raise DamageError(frame.index, what, path=segment.path, offset=frame.offset)

    def _add(self, frame: Frame) -> None:
        self.tree.push(hash_leaf(frame.leaf))
        self.end = frame.end
        self._compare()

    def _compare(self) -> None:
        """Hold the tree against the newest checkpoint at the moment it has that size."""
        if self.tree.size == self.checkpoint.size and self.tree.root() != self.checkpoint.root:
            raise self._contradicted(self.checkpoint.size)

    def _contradicted(self, size: int) -> DamageError:
        first = self._signed_from
        return DamageError(first, f"the records {first} to {size - 1} are not those that were signed at size {size}")

    def _was_durable(self, file: int, offset: int, size: int) -> bool:
        """Whether the record missing at *offset* had been acknowledged, as far as the bytes can tell."""
        if self.tree.size < self.checkpoint.size:
            return True
        return any(frame.durable > self.tree.size for frame in iter_frames_after_damage(file, offset, size))
