"""What the management API gives, where that is not simply a noun of the domain."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from hanlin.domain import (
    Alias,
    Base,
    ConfigItem,
    CorpusVersion,
    Deployment,
    Evidence,
    Model,
    ModelVersion,
    Promotion,
    Release,
    Replica,
    Role,
)

T = TypeVar("T")


class Listed(BaseModel, Generic[T]):
    """One page of a list."""

    data: list[T]
    next_cursor: str | None = None
    has_more: bool = False


class ProblemReply(BaseModel):
    """An error as RFC 9457 asks for it, with our stable code."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    hint: str = ""
    param: str | None = None
    request_id: str = ""


class SessionReply(BaseModel):
    """A session: the credential (shown once) and who it stands for."""

    token: str | None
    principal: str
    roles: list[Role]
    workspace: str
    expires_at: datetime | None


class KeyReply(BaseModel):
    """A key without its secret; *key* is there only in the answer to its creation."""

    id: str
    kind: str
    name: str
    principal: str
    roles: list[Role]
    deployments: list[str]
    workspace: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    requests_per_minute: int | None
    key: str | None = None


class UploadReply(BaseModel):
    """A file that arrived, to be named in an import task."""

    upload: str
    filename: str
    size_bytes: int
    sha256: str


class TaskKind(BaseModel):
    """A kind of task and the JSON Schema of its parameters."""

    kind: str
    meaning: str
    parameters: dict[str, Any]


class LogLine(BaseModel):
    """One line of a task's log."""

    at: datetime
    message: str
    fields: dict[str, Any] = {}


class TaskLog(BaseModel):
    """Lines of a task's log; *next_after* asks for what comes later."""

    lines: list[LogLine]
    next_after: int


class TaskSeries(BaseModel):
    """The metric series of a task: name to [[step, value], …]."""

    series: dict[str, list[tuple[int, float]]]


class ModelReply(BaseModel):
    """A model with its versions, newest first, and aliases."""

    model: Model
    versions: list[ModelVersion]
    aliases: list[Alias]


class VersionReply(BaseModel):
    """A version with all that was measured about it and the aliases that name it."""

    version: ModelVersion
    evidence: list[Evidence]
    aliases: list[str]
    promotions: list[Promotion]


class ConfigPlan(BaseModel):
    """What a change of configuration would do."""

    changes: dict[str, tuple[Any, Any]]
    restarts_replicas: bool
    release: int


class ConfigItemReply(BaseModel):
    """A config item: its type, bounds, and whether a change restarts replicas."""

    name: str
    type: str
    default: Any
    minimum: int | None
    maximum: int | None
    choices: list[str]
    restarts_replicas: bool
    unit: str
    meaning: str

    @classmethod
    def of(cls, item: ConfigItem) -> ConfigItemReply:
        """Describe *item*."""
        return cls(
            name=item.name,
            type=item.type.__name__,
            default=item.default,
            minimum=item.minimum,
            maximum=item.maximum,
            choices=list(item.choices),
            restarts_replicas=item.restarts_replicas,
            unit=item.unit,
            meaning=item.meaning,
        )


class DeploymentReply(BaseModel):
    """A deployment: what is wanted, what runs, and how it does."""

    deployment: Deployment
    etag: str
    state: str  # ready, updating, degraded, failed, waiting
    message: str
    replicas: list[Replica]
    figures: dict[str, float]


class ServedReply(BaseModel):
    """What a deployment served at an instant."""

    deployment: str
    at: datetime
    version: int | None
    promotion: Promotion | None
    release: Release | None


class BaseReply(BaseModel):
    """A base model that can be pulled or is there already."""

    name: str
    description: str
    source: str
    licence: str
    pinned: str
    pulled: Base | None


class CorpusReply(BaseModel):
    """A corpus: its newest version and how many there are."""

    name: str
    versions: int
    latest: CorpusVersion


class SeriesReply(BaseModel):
    """Points of one series: [[epoch seconds, value], …]."""

    name: str
    subject: str
    points: list[tuple[float, float]]


class ChannelReply(BaseModel):
    """A channel; *secret* (for checking signatures) is there only in the answer to its creation."""

    id: str
    name: str
    url: str
    created_by: str
    created_at: datetime
    secret: str | None = None


class RecordReply(BaseModel):
    """One record of the ledger; private fields are there only for callers who may see them."""

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
    details: Mapping[str, Any]
    subject: str | None = None
    ip: str | None = None
    request: Any = None
    result: Any = None
    leaf_hash: str


class LogState(BaseModel):
    """What verification found about one log."""

    writer: str
    size: int
    root: str
    is_intact: bool
    first_bad_index: int | None = None
    finding: str = ""


class VerifyReply(BaseModel):
    """The verdict over the whole ledger."""

    is_intact: bool
    size: int
    root: str
    logs: list[LogState]
    took_s: float


class ProbeReply(BaseModel):
    """The latest results of one periodic check."""

    probe: str  # ping, http, deep
    target: str
    is_healthy: bool
    failures: int
    checked_at: datetime | None
    latency_ms: float | None
    message: str = ""
