"""What replicas and gateways say to each other."""

from __future__ import annotations

from typing import TypeAlias

from hanlin.wire.frames import Message


class Hello(Message, frozen=True):
    """A replica dials in."""

    token: str
    replica: str
    deployment: str
    version: int
    digest: str
    release: int
    pid: int


class Ready(Message, frozen=True):
    """The engine is loaded and warm, *start_s* after the process began."""

    start_s: float
    memory_bytes: int


class Lease(Message, frozen=True):
    """I am alive."""

    memory_bytes: int
    served: int


class Failed(Message, frozen=True):
    """The engine cannot be loaded."""

    code: str
    error: str


class Leaving(Message, frozen=True):
    """Send nothing more; what is under way will be answered."""


class Batch(Message, frozen=True):
    """Texts to judge, as token ids."""

    id: int
    rows: list[list[int]]


class Result(Message, frozen=True):
    """The logits of a batch: float32, little endian, row by row."""

    id: int
    labels: int
    logits: bytes
    compute_s: float


class BatchFailed(Message, frozen=True):
    """The engine could not judge a batch."""

    id: int
    code: str
    error: str


class Refused(Message, frozen=True):
    """The gateway does not want this replica; dialling again is no use."""

    reason: str


FromReplica: TypeAlias = Hello | Ready | Lease | Failed | Leaving | Result | BatchFailed
ToReplica: TypeAlias = Batch | Refused
