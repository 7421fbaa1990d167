"""How the ledger's failures are told."""

from __future__ import annotations

from pathlib import Path

from hanlin.audit.disk import DISK_FULL
from hanlin.domain import ConflictError, LedgerUnavailableError, PlatformError, StorageFullError


class DamageError(Exception):
    """The bytes of a log are not what was written: the first index that is wrong, what is wrong, and where."""

    def __init__(self, index: int, what: str, *, path: Path | None = None, offset: int | None = None) -> None:
        super().__init__(what)
        self.index, self.what, self.path, self.offset = index, what, path, offset


def corrupt(writer: str, damage: DamageError) -> ConflictError:
    """Return the error for a log that must not be written to."""
    where = f" ({damage.path.name}, byte {damage.offset})" if damage.path and damage.offset is not None else ""
    return ConflictError(
        f"log {writer!r} is damaged at record {damage.index}: {damage.what}{where}",
        code="ledger_corrupt",
        hint="keep the folder as evidence, run `hanlin audit verify`, restore it from a backup",
    )


def refusal(writer: str, cause: OSError | str) -> PlatformError:
    """Return the error for a record that could not be made durable; nothing of it was acknowledged."""
    if isinstance(cause, OSError) and cause.errno in DISK_FULL:
        return StorageFullError(
            f"log {writer!r} has no room: {cause.strerror}",
            hint="free space on the ledger's disk; recording resumes by itself",
            retry_after_s=1.0,
        )
    what = cause.strerror or str(cause) if isinstance(cause, OSError) else cause
    return LedgerUnavailableError(
        f"log {writer!r} takes no records: {what}", hint="it is retried every moment", retry_after_s=1.0
    )
