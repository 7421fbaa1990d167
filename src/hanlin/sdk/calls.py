"""Every call of the two APIs as a pure value: what is sent, and how the reply is read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

from pydantic import TypeAdapter

from hanlin.domain import (
    Alert,
    AlertRule,
    CorpusVersion,
    Model,
    ModelVersion,
    Promotion,
    Release,
    Schedule,
    Task,
)
from hanlin.wire.admin import (
    BaseReply,
    ChannelReply,
    ConfigItemReply,
    ConfigPlan,
    CorpusReply,
    DeploymentReply,
    KeyReply,
    Listed,
    ModelReply,
    ProbeReply,
    RecordReply,
    SeriesReply,
    ServedReply,
    SessionReply,
    TaskKind,
    TaskLog,
    TaskSeries,
    UploadReply,
    VerifyReply,
    VersionReply,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request and how to read its reply. Send it with Client.send or AsyncClient.send."""

    method: str
    path: str
    read: Callable[[bytes], T]
    query: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: Any = None  # bytes, or an iterator of bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@cache
def _reader(type_: Hashable) -> Callable[[bytes], Any]:
    adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", type_))
    return adapter.validate_json


def _nothing(_: bytes) -> None:
    return None


def _call(type_: Hashable, method: str, path: str, *, json: object = None, **query: object) -> Call[Any]:
    text = {name.rstrip("_"): _text(value) for name, value in query.items() if value is not None}
    return Call(method=method, path=f"/api/v1/{path}", read=_reader(type_), query=text, json=json)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _part(value: object) -> str:
    return quote(str(value), safe="")


class Calls:
    """The management API, one function per operation; see the OpenAPI document of a running Hanlin."""

    # Who I am, and keys

    @staticmethod
    def create_session(token: str) -> Call[SessionReply]:
        """Exchange a one-time token for a session."""
        return _call(SessionReply, "POST", "sessions", json={"token": token})

    @staticmethod
    def get_session() -> Call[SessionReply]:
        """Ask who I am."""
        return _call(SessionReply, "GET", "sessions/current")

    @staticmethod
    def delete_session() -> Call[None]:
        """Sign out."""
        return Call(method="DELETE", path="/api/v1/sessions/current", read=_nothing)

    @staticmethod
    def list_keys(*, after: str | None = None, limit: int = 100) -> Call[Listed[KeyReply]]:
        """List keys of programs, without their secrets."""
        return _call(Listed[KeyReply], "GET", "keys", after=after, limit=limit)

    @staticmethod
    def create_key(name: str, **fields: object) -> Call[KeyReply]:
        """Make a key; fields are those of KeyRequest. The reply shows the secret once."""
        return _call(KeyReply, "POST", "keys", json={"name": name, **fields})

    @staticmethod
    def revoke_key(key_id: str) -> Call[KeyReply]:
        """End a key for good."""
        return _call(KeyReply, "DELETE", f"keys/{_part(key_id)}")

    # Corpora and bases

    @staticmethod
    def upload(filename: str, content: Any) -> Call[UploadReply]:
        """Send a file (bytes, or an iterator of bytes) that an import task can name."""
        return Call(
            method="POST",
            path="/api/v1/uploads",
            read=_reader(UploadReply),
            query={"filename": filename},
            content=content,
            headers={"Content-Type": "application/octet-stream"},
        )

    @staticmethod
    def list_corpora(*, after: str | None = None, limit: int = 100) -> Call[Listed[CorpusReply]]:
        """List corpora with their newest versions."""
        return _call(Listed[CorpusReply], "GET", "corpora", after=after, limit=limit)

    @staticmethod
    def get_corpus(name: str, number: int) -> Call[CorpusVersion]:
        """Show one version of a corpus with its profile."""
        return _call(CorpusVersion, "GET", f"corpora/{_part(name)}/versions/{number}")

    @staticmethod
    def list_corpus_rows(
        name: str, number: int, *, split: str = "train", limit: int = 20
    ) -> Call[Listed[dict[str, Any]]]:
        """Read the first rows of a split."""
        path = f"corpora/{_part(name)}/versions/{number}/rows"
        return _call(Listed[dict[str, Any]], "GET", path, split=split, limit=limit)

    @staticmethod
    def list_bases() -> Call[Listed[BaseReply]]:
        """List base models: what can be pulled and what is there."""
        return _call(Listed[BaseReply], "GET", "bases")

    # Tasks and schedules

    @staticmethod
    def list_task_kinds() -> Call[Listed[TaskKind]]:
        """List the kinds of tasks and their parameters."""
        return _call(Listed[TaskKind], "GET", "task-kinds")

    @staticmethod
    def create_task(
        kind: str,
        params: Mapping[str, Any],
        *,
        run_at: datetime | None = None,
        max_attempts: int = 3,
        idempotency_key: str | None = None,
    ) -> Call[Task]:
        """Ask for long work now or at *run_at*; the same *idempotency_key* never starts it twice."""
        body = {
            "kind": kind,
            "params": dict(params),
            "run_at": run_at.isoformat() if run_at else None,
            "max_attempts": max_attempts,
        }
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return Call(method="POST", path="/api/v1/tasks", read=_reader(Task), json=body, headers=headers)

    @staticmethod
    def list_tasks(
        *, state: str | None = None, kind: str | None = None, after: str | None = None, limit: int = 50
    ) -> Call[Listed[Task]]:
        """List tasks, newest first."""
        return _call(Listed[Task], "GET", "tasks", state=state, kind=kind, after=after, limit=limit)

    @staticmethod
    def get_task(task_id: str) -> Call[Task]:
        """Show one task."""
        return _call(Task, "GET", f"tasks/{_part(task_id)}")

    @staticmethod
    def get_task_log(task_id: str, *, after: int = 0, limit: int = 500) -> Call[TaskLog]:
        """Read a task's log from line *after* on."""
        return _call(TaskLog, "GET", f"tasks/{_part(task_id)}/log", after=after, limit=limit)

    @staticmethod
    def get_task_series(task_id: str) -> Call[TaskSeries]:
        """Read a task's metric series."""
        return _call(TaskSeries, "GET", f"tasks/{_part(task_id)}/series")

    @staticmethod
    def cancel_task(task_id: str) -> Call[Task]:
        """Stop a task."""
        return _call(Task, "POST", f"tasks/{_part(task_id)}/cancel")

    @staticmethod
    def retry_task(task_id: str) -> Call[Task]:
        """Run a failed or cancelled task again, from where it was."""
        return _call(Task, "POST", f"tasks/{_part(task_id)}/retry")

    @staticmethod
    def list_schedules(*, after: str | None = None, limit: int = 100) -> Call[Listed[Schedule]]:
        """List schedules."""
        return _call(Listed[Schedule], "GET", "schedules", after=after, limit=limit)

    @staticmethod
    def create_schedule(kind: str, params: Mapping[str, Any], *, cron: str, **fields: object) -> Call[Schedule]:
        """Create tasks by a cron line; fields are those of ScheduleRequest."""
        return _call(Schedule, "POST", "schedules", json={"kind": kind, "params": dict(params), "cron": cron, **fields})

    @staticmethod
    def delete_schedule(schedule_id: str) -> Call[None]:
        """Remove a schedule; tasks it made stay."""
        return Call(method="DELETE", path=f"/api/v1/schedules/{_part(schedule_id)}", read=_nothing)

    # Models and promotions

    @staticmethod
    def list_models(*, after: str | None = None, limit: int = 100) -> Call[Listed[ModelReply]]:
        """List models with their versions and aliases."""
        return _call(Listed[ModelReply], "GET", "models", after=after, limit=limit)

    @staticmethod
    def get_model(name: str) -> Call[ModelReply]:
        """Show a model with its versions and aliases."""
        return _call(ModelReply, "GET", f"models/{_part(name)}")

    @staticmethod
    def update_model(name: str, **fields: object) -> Call[Model]:
        """Change description, owner or tags."""
        return _call(Model, "PATCH", f"models/{_part(name)}", json=fields)

    @staticmethod
    def get_version(model: str, number: int) -> Call[VersionReply]:
        """Show a version with its evidence."""
        return _call(VersionReply, "GET", f"models/{_part(model)}/versions/{number}")

    @staticmethod
    def tag_version(model: str, number: int, tags: Mapping[str, str]) -> Call[ModelVersion]:
        """Replace the tags of a version."""
        return _call(ModelVersion, "PATCH", f"models/{_part(model)}/versions/{number}", json={"tags": dict(tags)})

    @staticmethod
    def retire_version(model: str, number: int) -> Call[ModelVersion]:
        """Take a version out of use for good; refused while an alias names it."""
        return _call(ModelVersion, "POST", f"models/{_part(model)}/versions/{number}/retire")

    @staticmethod
    def list_promotions(
        *, model: str | None = None, state: str | None = None, after: str | None = None, limit: int = 50
    ) -> Call[Listed[Promotion]]:
        """List promotions, newest first."""
        return _call(Listed[Promotion], "GET", "promotions", model=model, state=state, after=after, limit=limit)

    @staticmethod
    def create_promotion(
        model: str, version: int, *, alias: str = "champion", policy: str | None = None
    ) -> Call[Promotion]:
        """Ask that *alias* of *model* names *version*; the policy judges the evidence at once."""
        body = {"model": model, "version": version, "alias": alias, "policy": policy}
        return _call(Promotion, "POST", "promotions", json=body)

    @staticmethod
    def get_promotion(promotion_id: str) -> Call[Promotion]:
        """Show one promotion."""
        return _call(Promotion, "GET", f"promotions/{_part(promotion_id)}")

    @staticmethod
    def approve_promotion(promotion_id: str, reason: str = "") -> Call[Promotion]:
        """Approve somebody else's request; the alias moves."""
        return _call(Promotion, "POST", f"promotions/{_part(promotion_id)}/approve", json={"reason": reason})

    @staticmethod
    def refuse_promotion(promotion_id: str, reason: str = "") -> Call[Promotion]:
        """Refuse a request."""
        return _call(Promotion, "POST", f"promotions/{_part(promotion_id)}/refuse", json={"reason": reason})

    # Deployments and configuration

    @staticmethod
    def list_deployments(*, after: str | None = None, limit: int = 100) -> Call[Listed[DeploymentReply]]:
        """List deployments with what runs."""
        return _call(Listed[DeploymentReply], "GET", "deployments", after=after, limit=limit)

    @staticmethod
    def create_deployment(
        name: str, model: str, *, alias: str = "champion", config: Mapping[str, Any] | None = None
    ) -> Call[DeploymentReply]:
        """Create a deployment that follows *alias* of *model*."""
        body = {"name": name, "model": model, "alias": alias, "config": dict(config or {})}
        return _call(DeploymentReply, "POST", "deployments", json=body)

    @staticmethod
    def get_deployment(name: str) -> Call[DeploymentReply]:
        """Show a deployment: wanted, running, figures."""
        return _call(DeploymentReply, "GET", f"deployments/{_part(name)}")

    @staticmethod
    def delete_deployment(name: str) -> Call[None]:
        """Stop serving and remove the deployment; its history stays in the ledger."""
        return Call(method="DELETE", path=f"/api/v1/deployments/{_part(name)}", read=_nothing)

    @staticmethod
    def configure(
        name: str, changes: Mapping[str, Any], *, note: str = "", etag: str | None = None
    ) -> Call[DeploymentReply]:
        """Publish a change of configuration as a new release; with *etag*, only if nobody changed it meanwhile."""
        return Call(
            method="PATCH",
            path=f"/api/v1/deployments/{_part(name)}/config",
            read=_reader(DeploymentReply),
            json={"changes": dict(changes), "note": note},
            headers={"If-Match": etag} if etag else {},
        )

    @staticmethod
    def plan_configuration(name: str, changes: Mapping[str, Any]) -> Call[ConfigPlan]:
        """Say what a change would do, without doing it."""
        path = f"deployments/{_part(name)}/config"
        return _call(ConfigPlan, "PATCH", path, json={"changes": dict(changes)}, dry_run=True)

    @staticmethod
    def list_releases(name: str, *, after: str | None = None, limit: int = 50) -> Call[Listed[Release]]:
        """List the releases of a deployment's configuration, newest first."""
        return _call(Listed[Release], "GET", f"deployments/{_part(name)}/releases", after=after, limit=limit)

    @staticmethod
    def rollback(name: str, release: int, *, note: str = "") -> Call[DeploymentReply]:
        """Bring the configuration of an earlier release back, as a new one."""
        body = {"release": release, "note": note}
        return _call(DeploymentReply, "POST", f"deployments/{_part(name)}/rollback", json=body)

    @staticmethod
    def served_at(name: str, time: datetime) -> Call[ServedReply]:
        """Say what the deployment served at *time*."""
        return _call(ServedReply, "GET", f"deployments/{_part(name)}/at", time=time)

    @staticmethod
    def list_config_items() -> Call[Listed[ConfigItemReply]]:
        """List the config items with their types and bounds."""
        return _call(Listed[ConfigItemReply], "GET", "config-items")

    # Watching

    @staticmethod
    def get_series(name: str, subject: str, *, since_s: float = 900, step_s: float | None = None) -> Call[SeriesReply]:
        """Read the last *since_s* seconds of a series."""
        return _call(SeriesReply, "GET", "series", name=name, subject=subject, since=since_s, step=step_s)

    @staticmethod
    def get_report() -> Call[dict[str, Any]]:
        """Read the eight figures of every deployment."""
        return _call(dict[str, Any], "GET", "report")

    @staticmethod
    def list_probes() -> Call[Listed[ProbeReply]]:
        """List the latest results of the periodic checks."""
        return _call(Listed[ProbeReply], "GET", "probes")

    @staticmethod
    def list_alert_rules(*, limit: int = 100) -> Call[Listed[AlertRule]]:
        """List alert rules."""
        return _call(Listed[AlertRule], "GET", "alert-rules", limit=limit)

    @staticmethod
    def create_alert_rule(name: str, **fields: object) -> Call[AlertRule]:
        """Make a rule; fields are those of AlertRuleRequest."""
        return _call(AlertRule, "POST", "alert-rules", json={"name": name, **fields})

    @staticmethod
    def delete_alert_rule(rule_id: str) -> Call[None]:
        """Remove a rule."""
        return Call(method="DELETE", path=f"/api/v1/alert-rules/{_part(rule_id)}", read=_nothing)

    @staticmethod
    def list_alerts(*, is_open: bool | None = None, after: str | None = None, limit: int = 50) -> Call[Listed[Alert]]:
        """List alerts, newest first."""
        return _call(Listed[Alert], "GET", "alerts", is_open=is_open, after=after, limit=limit)

    @staticmethod
    def list_channels() -> Call[Listed[ChannelReply]]:
        """List channels."""
        return _call(Listed[ChannelReply], "GET", "channels")

    @staticmethod
    def create_channel(name: str, url: str) -> Call[ChannelReply]:
        """Make a webhook channel; its host must be on the allow-list. The reply shows the signing secret once."""
        return _call(ChannelReply, "POST", "channels", json={"name": name, "url": url})

    @staticmethod
    def delete_channel(channel_id: str) -> Call[None]:
        """Remove a channel."""
        return Call(method="DELETE", path=f"/api/v1/channels/{_part(channel_id)}", read=_nothing)

    # The ledger

    @staticmethod
    def search_records(*, after: str | None = None, limit: int = 50, **filters: object) -> Call[Listed[RecordReply]]:
        """
        Search the ledger, newest first; filters: since, until, kind, action, actor, subject, ip, model, version,
        deployment, label, status, min_latency_ms, request_id, text.
        """
        return _call(Listed[RecordReply], "GET", "audit/records", after=after, limit=limit, **filters)

    @staticmethod
    def verify_ledger() -> Call[VerifyReply]:
        """Recompute the whole ledger from its bytes."""
        return _call(VerifyReply, "POST", "audit/verify")
