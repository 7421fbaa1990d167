"""What goes into the ledger, what the writer gets back, and what a reader finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

Detail: TypeAlias = "str | int | bool | Sequence[Detail] | Mapping[str, Detail] | None"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    Something that was done and must stay provable.

    Everything but *subject*, *ip*, *request* and *result* is public: it stays readable for as long as the log lives.
    Those four are private: the log holds salted commitments to them, and the values themselves encrypted under the
    subject's key. *details* take texts, whole numbers, booleans, lists and mappings with ASCII names; a fraction is
    written as an integer of a smaller unit (``score_millionths``).
    """

    kind: str
    action: str
    actor: str
    workspace: str = "default"
    subject: str = ""
    request_id: str = ""
    at: datetime = field(default_factory=_now)
    ip: str = ""
    status: int = 200
    details: Mapping[str, Detail] = field(default_factory=dict)
    request: bytes = b""
    result: bytes = b""
    latency_us: int = 0
    queue_us: int = 0
    compute_us: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """The place of a durable record: enough to ask for its proof later."""

    writer: str
    index: int
    leaf_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record as it was found; the private fields are None where they were not asked for or are erased."""

    writer: str
    index: int
    at: datetime
    kind: str
    action: str
    actor: str
    workspace: str
    request_id: str
    status: int
    latency_us: int
    queue_us: int
    compute_us: int
    details: Mapping[str, Detail]
    leaf_hash: str
    subject: str | None = None
    ip: str | None = None
    request: bytes | None = None
    result: bytes | None = None
