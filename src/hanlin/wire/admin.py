"""What the management API takes and gives, where that is not simply a noun of the domain."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from hanlin.domain import (
    Alias,
    Base,
    ConfigItem,
    CorpusVersion,
    Deployment,
    Evidence,
    MissedRuns,
    Model,
    ModelVersion,
    Promotion,
    Release,
    Replica,
    Role,
)

T = TypeVar("T")
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", str_max_length=100_000)


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


class SessionRequest(_Request):
    """Exchange a one-time token for a session."""

    token: str


class SessionReply(BaseModel):
    """A session: the credential (shown once) and who it stands for."""

    token: str | None
    principal: str
    roles: list[Role]
    workspace: str
    expires_at: datetime | None


class KeyRequest(_Request):
    """A key for a program."""

    name: str = Field(min_length=1, max_length=100)
    roles: list[Role] = [Role.CALLER]
    deployments: list[str] = ["*"]
    expires_in_days: float | None = Field(None, gt=0, le=3650)
    requests_per_minute: int | None = Field(None, ge=1)


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


class TaskRequest(_Request):
    """Ask for long work, now or at a time."""

    kind: str
    params: dict[str, Any] = {}
    run_at: datetime | None = None
    max_attempts: int = Field(3, ge=1, le=20)


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


class ScheduleRequest(_Request):
    """A cron line that creates tasks."""

    kind: str
    params: dict[str, Any] = {}
    cron: str
    timezone: str = "UTC"
    missed_runs: MissedRuns = MissedRuns.ONCE


class ModelPatch(_Request):
    """What may be changed about a model."""

    description: str | None = None
    owner: str | None = None
    tags: dict[str, str] | None = None


class VersionPatch(_Request):
    """What may be changed about a version: its tags."""

    tags: dict[str, str]


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


class PromotionRequest(_Request):
    """Ask that *alias* names *version*."""

    model: str
    version: int
    alias: Name = "champion"
    policy: str | None = None


class DecisionRequest(_Request):
    """Decide a promotion."""

    reason: str = ""


class DeploymentRequest(_Request):
    """Create a deployment that follows an alias of a model."""

    name: Name
    model: str
    alias: Name = "champion"
    config: dict[str, Any] = {}


class ConfigPatch(_Request):
    """Change config items of a deployment; *note* says why."""

    changes: dict[str, Any]
    note: str = ""


class RollbackRequest(_Request):
    """Bring an earlier release back."""

    release: int
    note: str = ""


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


class ChannelRequest(_Request):
    """A webhook for alerts."""

    name: str = Field(min_length=1, max_length=100)
    url: str = Field(min_length=8, max_length=2000)


class ChannelReply(BaseModel):
    """A channel; *secret* (for checking signatures) is there only in the answer to its creation."""

    id: str
    name: str
    url: str
    created_by: str
    created_at: datetime
    secret: str | None = None


class AlertRuleRequest(_Request):
    """A rule over one series."""

    name: str = Field(min_length=1, max_length=100)
    series: str
    deployment: str = "*"
    comparison: str = "above"
    threshold: float
    for_s: float = Field(0.0, ge=0)
    channel_id: str | None = None
    severity: str = "warning"


class RecordFilters(_Request):
    """What to look for in the ledger; a filter that is left out lets everything pass."""

    since: datetime | None = None
    until: datetime | None = None
    kind: str | None = None
    action: str | None = None
    actor: str | None = None
    subject: str | None = None
    ip: str | None = None
    model: str | None = None
    version: int | None = None
    deployment: str | None = None
    label: str | None = None
    status: int | None = None
    min_latency_ms: float | None = None
    request_id: str | None = None
    text: str | None = None
    after: str | None = None
    limit: int = Field(50, ge=1, le=500)


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
