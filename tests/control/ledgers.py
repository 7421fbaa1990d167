"""A ledger in memory, and people who change things."""

from __future__ import annotations

from collections.abc import Mapping

from hanlin.audit import Entry, Receipt
from hanlin.control import Context, Registry
from hanlin.domain import Caller, Digest, KeyId, LedgerUnavailableError, Role, VersionFormat

POLICY = "accuracy_low >= 0.8 and n >= 100"
GOOD = {"accuracy_low": 0.85, "n": 500}


class MemoryRecorder:
    """A ledger that keeps entries in a list, and fails when told to."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.is_failing = False

    def append_sync(self, entry: Entry) -> Receipt:
        """Keep *entry*."""
        if self.is_failing:
            raise LedgerUnavailableError("the ledger does not take records")
        self.entries.append(entry)
        return Receipt("control", len(self.entries) - 1, "")

    def actions(self) -> list[str]:
        """Return what was done, in order."""
        return [entry.action for entry in self.entries]


def by(principal: str, request_id: str = "request-1") -> Context:
    """Return the context of a request of *principal*."""
    caller = Caller(principal=principal, key_id=KeyId("abcdefgh"), roles=frozenset(Role))
    return Context(caller=caller, request_id=request_id, ip="127.0.0.1")


def add_version(
    registry: Registry,
    model: str = "reviews",
    *,
    format_: VersionFormat = VersionFormat.ONNX,
    figures: Mapping[str, object] | None = None,
) -> int:
    """Register a version with measured figures and return its number."""
    facts = {
        "digest": Digest("sha256:" + "1" * 64),
        "format": format_,
        "precision": "int8",
        "size_bytes": 1,
        "labels": ("负面", "正面"),
        "max_length": 64,
    }
    version = registry.add_version(by("task"), model, facts)
    registry.add_evidence(by("task"), model, version.number, "quality", GOOD if figures is None else figures, None)
    return version.number
