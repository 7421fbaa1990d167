"""What control tells gateways (snapshots), and what gateways tell control (reports)."""

from __future__ import annotations

import msgspec

from hanlin.wire.frames import Message


class KeyGrant(msgspec.Struct, frozen=True):
    """A key that may be used: its keyed hash and what it opens."""

    id: str
    hash: str
    principal: str
    workspace: str
    roles: list[str]
    deployments: list[str]
    expires_at: float | None = None
    requests_per_minute: int | None = None


class Route(msgspec.Struct, frozen=True):
    """Where requests for a deployment go, and within which bounds."""

    deployment: str
    workspace: str
    model: str
    version: int
    digest: str
    folder: str
    max_batch_tokens: int
    queue_limit: int
    queue_deadline_ms: int
    release: int


class Snapshot(Message, frozen=True):
    """Everything a gateway needs to know to answer; a later revision replaces an earlier one whole."""

    revision: int
    created_at: float
    routes: list[Route]
    keys: list[KeyGrant]


class ReplicaReport(msgspec.Struct, frozen=True):
    """A replica as its gateway sees it."""

    id: str
    deployment: str
    version: int
    digest: str
    release: int
    state: str
    pid: int
    in_flight: int
    start_s: float
    memory_bytes: int
    lease_age_s: float
    served: int
    error: str


class HistogramReport(msgspec.Struct, frozen=True):
    """Cumulated counts per bucket of telemetry.SECONDS_BOUNDS (and one beyond), and the sum in seconds."""

    counts: list[int]
    sum: float


class DeploymentReport(msgspec.Struct, frozen=True):
    """What a gateway did for a deployment since it started."""

    deployment: str
    queued: int
    in_flight: int
    requests_total: dict[str, int]
    texts_total: int
    tokens_total: int
    queue_s: HistogramReport
    compute_s: HistogramReport
    total_s: HistogramReport
    batches_total: int = 0
    batch_texts_total: int = 0


class LedgerReport(msgspec.Struct, frozen=True):
    """The state of a gateway's log."""

    writer: str
    size: int
    root: str
    failed: bool


class GatewayReport(Message, frozen=True):
    """All that a gateway knows of itself and its replicas."""

    gateway: str
    started_at: float
    at: float
    revision: int
    replicas: list[ReplicaReport]
    deployments: list[DeploymentReport]
    ledger: LedgerReport
    memory_bytes: int
