"""
Verification: the whole ledger recomputed from its bytes and held against what was signed.

For every record: its checksum, its place, its hash in the tree, its own claim of writer and sequence and, where the
subject's key still exists, every commitment against the value it commits to. For every log: the signature of each
checkpoint, and the root at the size it speaks of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hanlin.audit.checkpoints import Checkpoint
from hanlin.audit.encoding import key_id_of, parse_leaf, unseal
from hanlin.audit.faults import DamageError
from hanlin.audit.frames import Frame
from hanlin.audit.keys import LedgerKeys
from hanlin.audit.reading import list_writers
from hanlin.audit.recovery import read_checkpoint
from hanlin.audit.segments import list_segments
from hanlin.audit.subjects import Ring, SubjectKey
from hanlin.audit.tree import EMPTY_ROOT, hash_leaf, root_of
from hanlin.audit.walk import Walk


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """
    The verdict over one log.

    *size* and *root* are recomputed, up to where the log could be followed. *signed_size* is what the newest
    checkpoint vouches for; records after it are about a second old, or their writer died. *erased* counts records
    whose subject was forgotten; *torn_bytes* is the rest of an interrupted write, which was promised to nobody.
    """

    writer: str
    size: int
    root: str
    signed_size: int
    erased: int = 0
    torn_bytes: int = 0
    first_bad_index: int | None = None
    finding: str = ""

    @property
    def is_intact(self) -> bool:
        """Whether everything is what was written."""
        return not self.finding


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The verdict over the ledger, log by log."""

    logs: Sequence[LogReport]

    @property
    def is_intact(self) -> bool:
        """Whether every log is."""
        return all(log.is_intact for log in self.logs)

    @property
    def size(self) -> int:
        """How many records were recomputed."""
        return sum(log.size for log in self.logs)

    @property
    def root(self) -> str:
        """One hash over the ledger: the root of a tree whose leaves are the logs' name, size and root, a line each."""
        heads = (f"{log.writer}\n{log.size}\n{log.root}\n".encode() for log in self.logs)
        return root_of(hash_leaf(head) for head in heads).hex()

    @property
    def first_bad(self) -> LogReport | None:
        """The first log that is not intact; its index and finding name the record."""
        return next((log for log in self.logs if not log.is_intact), None)


def verify(root: Path, keys: LedgerKeys) -> VerifyReport:
    """
    Recompute every log below *root* and report the first record of each that is not what was written.

    May run while the logs are being written. Raises for nothing it finds in the logs. A log whose subject keys are
    there but whose folder is gone is reported as missing.
    """
    writers = set(list_writers(root)) | {path.stem for path in keys.subjects_path("").parent.glob("*.keys")}
    return VerifyReport([_verify_log(root / writer, writer, keys) for writer in sorted(writers)])


def _verify_log(folder: Path, writer: str, keys: LedgerKeys) -> LogReport:
    origin = keys.origin(writer)
    try:
        checkpoint = read_checkpoint(folder, origin, keys)  # first: whatever it vouches for must be found after
    except ValueError as error:
        return _bad(writer, None, str(error))
    if checkpoint is None:
        return _bad(writer, 0, "the log or its checkpoint is gone")
    return _recompute(folder, checkpoint, Walk(writer, origin, keys.public, checkpoint), Ring(keys, writer))


def _recompute(folder: Path, checkpoint: Checkpoint, walk: Walk, ring: Ring) -> LogReport:
    damage: DamageError | None = None
    erased = 0
    keys: dict[bytes, SubjectKey | None] = {}
    try:
        for frame in walk.frames(list_segments(folder)):
            key_id = key_id_of(frame.private)
            if key_id not in keys:
                keys[key_id] = ring.find(key_id)
            erased += keys[key_id] is None
            _check_record(frame, walk.writer, keys[key_id])
    except DamageError as error:
        damage = error
    except ValueError as error:
        damage = DamageError(walk.tree.size, str(error))
    return LogReport(
        writer=walk.writer,
        size=walk.tree.size,
        root=walk.tree.root().hex(),
        signed_size=checkpoint.size,
        erased=erased,
        torn_bytes=walk.torn_bytes,
        first_bad_index=None if damage is None else damage.index,
        finding="" if damage is None else damage.what,
    )


def _check_record(frame: Frame, writer: str, key: SubjectKey | None) -> None:
    """Raise ValueError that says how the record contradicts its place or its own commitments."""
    leaf = parse_leaf(frame.leaf)
    if leaf.sequence != frame.index or leaf.writer != writer:
        raise ValueError(f"it says it is record {leaf.sequence} of {leaf.writer!r}")
    if key is None:
        return
    found = unseal(frame.private, key).commitments()
    wrong = [
        name
        for name in ("ip", "request", "result", "subject")
        if getattr(found, name) != getattr(leaf.commitments, name)
    ]
    if wrong:
        raise ValueError(f"its private {', '.join(wrong)} is not what it commits to")


def _bad(writer: str, index: int | None, finding: str) -> LogReport:
    return LogReport(
        writer=writer, size=0, root=EMPTY_ROOT.hex(), signed_size=0, first_bad_index=index, finding=finding
    )
