"""What the management API takes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from hanlin.domain import MissedRuns, Role

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _encodable(value: Any) -> Any:
    """Refuse half a surrogate pair anywhere in *value*: JSON can say it, but nobody can store or send it."""
    if isinstance(value, str):
        value.encode()  # UnicodeEncodeError is a ValueError, which pydantic turns into a message
    elif isinstance(value, dict):
        for key, item in value.items():
            _encodable([key, item])
    elif isinstance(value, list):
        for item in value:
            _encodable(item)
    return value


Instant = Annotated[datetime, AfterValidator(_aware)]  # UTC when it names no zone
Values = Annotated[dict[str, Any], AfterValidator(_encodable)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", str_max_length=100_000, allow_inf_nan=False)


class SessionRequest(_Request):
    """Exchange a one-time token for a session."""

    token: str


class KeyRequest(_Request):
    """A key for a program."""

    name: str = Field(min_length=1, max_length=100)
    roles: list[Role] = [Role.CALLER]
    deployments: list[str] = ["*"]
    expires_in_days: float | None = Field(None, gt=0, le=3650)
    requests_per_minute: int | None = Field(None, ge=1)


class TaskRequest(_Request):
    """Ask for long work, now or at a time."""

    kind: str
    params: Values = {}
    run_at: Instant | None = None
    max_attempts: int = Field(3, ge=1, le=20)


class ScheduleRequest(_Request):
    """A cron line that creates tasks."""

    kind: str
    params: Values = {}
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
    config: Values = {}


class ConfigPatch(_Request):
    """Change config items of a deployment; *note* says why."""

    changes: Values
    note: str = ""


class RollbackRequest(_Request):
    """Bring an earlier release back."""

    release: int
    note: str = ""


class ChannelRequest(_Request):
    """A webhook for alerts."""

    name: str = Field(min_length=1, max_length=100)
    url: str = Field(min_length=8, max_length=2000)


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

    since: Instant | None = None
    until: Instant | None = None
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
