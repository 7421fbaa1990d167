"""Every call of the management API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

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
from hanlin.sdk.call import Call, api_call, path_part, read_nothing, reader_of
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


class Calls:
    """The management API, one function per operation; see the OpenAPI document of a running Hanlin."""

    # Who I am, and keys

    @staticmethod
    def create_session(token: str) -> Call[SessionReply]:
        """Exchange a one-time token for a session."""
        return api_call(SessionReply, "POST", "sessions", json={"token": token})

    @staticmethod
    def get_session() -> Call[SessionReply]:
        """Ask who I am."""
        return api_call(SessionReply, "GET", "sessions/current")

    @staticmethod
    def delete_session() -> Call[None]:
        """Sign out."""
        return Call(method="DELETE", path="/api/v1/sessions/current", read=read_nothing)

    @staticmethod
    def list_keys(*, after: str | None = None, limit: int = 100) -> Call[Listed[KeyReply]]:
        """List keys of programs, without their secrets."""
        return api_call(Listed[KeyReply], "GET", "keys", after=after, limit=limit)

    @staticmethod
    def create_key(name: str, **fields: object) -> Call[KeyReply]:
        """Make a key; fields are those of KeyRequest. The reply shows the secret once."""
        return api_call(KeyReply, "POST", "keys", json={"name": name, **fields})

    @staticmethod
    def revoke_key(key_id: str) -> Call[KeyReply]:
        """End a key for good."""
        return api_call(KeyReply, "DELETE", f"keys/{path_part(key_id)}")

    # Corpora and bases

    @staticmethod
    def upload(filename: str, content: Any) -> Call[UploadReply]:
        """Send a file (bytes, or an iterator of bytes) that an import task can name."""
        return Call(
            method="POST",
            path="/api/v1/uploads",
            read=reader_of(UploadReply),
            query={"filename": filename},
            content=content,
            headers={"Content-Type": "application/octet-stream"},
        )

    @staticmethod
    def list_corpora() -> Call[Listed[CorpusReply]]:
        """List corpora with their newest versions."""
        return api_call(Listed[CorpusReply], "GET", "corpora")

    @staticmethod
    def get_corpus(name: str, number: int) -> Call[CorpusVersion]:
        """Show one version of a corpus with its profile."""
        return api_call(CorpusVersion, "GET", f"corpora/{path_part(name)}/versions/{number}")

    @staticmethod
    def list_corpus_rows(
        name: str, number: int, *, split: str = "train", limit: int = 20
    ) -> Call[Listed[dict[str, Any]]]:
        """Read the first rows of a split."""
        path = f"corpora/{path_part(name)}/versions/{number}/rows"
        return api_call(Listed[dict[str, Any]], "GET", path, split=split, limit=limit)

    @staticmethod
    def list_bases() -> Call[Listed[BaseReply]]:
        """List base models: what can be pulled and what is there."""
        return api_call(Listed[BaseReply], "GET", "bases")

    # Tasks and schedules

    @staticmethod
    def list_task_kinds() -> Call[Listed[TaskKind]]:
        """List the kinds of tasks and their parameters."""
        return api_call(Listed[TaskKind], "GET", "task-kinds")

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
        return Call(method="POST", path="/api/v1/tasks", read=reader_of(Task), json=body, headers=headers)

    @staticmethod
    def list_tasks(
        *, state: str | None = None, kind: str | None = None, after: str | None = None, limit: int = 50
    ) -> Call[Listed[Task]]:
        """List tasks, newest first."""
        return api_call(Listed[Task], "GET", "tasks", state=state, kind=kind, after=after, limit=limit)

    @staticmethod
    def get_task(task_id: str) -> Call[Task]:
        """Show one task."""
        return api_call(Task, "GET", f"tasks/{path_part(task_id)}")

    @staticmethod
    def get_task_log(task_id: str, *, after: int = 0, limit: int = 500) -> Call[TaskLog]:
        """Read a task's log from line *after* on."""
        return api_call(TaskLog, "GET", f"tasks/{path_part(task_id)}/log", after=after, limit=limit)

    @staticmethod
    def get_task_series(task_id: str) -> Call[TaskSeries]:
        """Read a task's metric series."""
        return api_call(TaskSeries, "GET", f"tasks/{path_part(task_id)}/series")

    @staticmethod
    def cancel_task(task_id: str) -> Call[Task]:
        """Stop a task."""
        return api_call(Task, "POST", f"tasks/{path_part(task_id)}/cancel")

    @staticmethod
    def retry_task(task_id: str) -> Call[Task]:
        """Run a failed or cancelled task again, from where it was."""
        return api_call(Task, "POST", f"tasks/{path_part(task_id)}/retry")

    @staticmethod
    def list_schedules(*, after: str | None = None, limit: int = 100) -> Call[Listed[Schedule]]:
        """List schedules."""
        return api_call(Listed[Schedule], "GET", "schedules", after=after, limit=limit)

    @staticmethod
    def create_schedule(kind: str, params: Mapping[str, Any], *, cron: str, **fields: object) -> Call[Schedule]:
        """Create tasks by a cron line; fields are those of ScheduleRequest."""
        return api_call(
            Schedule, "POST", "schedules", json={"kind": kind, "params": dict(params), "cron": cron, **fields}
        )

    @staticmethod
    def delete_schedule(schedule_id: str) -> Call[None]:
        """Remove a schedule; tasks it made stay."""
        return Call(method="DELETE", path=f"/api/v1/schedules/{path_part(schedule_id)}", read=read_nothing)

    # Models and promotions

    @staticmethod
    def list_models(*, after: str | None = None, limit: int = 100) -> Call[Listed[ModelReply]]:
        """List models with their versions and aliases."""
        return api_call(Listed[ModelReply], "GET", "models", after=after, limit=limit)

    @staticmethod
    def get_model(name: str) -> Call[ModelReply]:
        """Show a model with its versions and aliases."""
        return api_call(ModelReply, "GET", f"models/{path_part(name)}")

    @staticmethod
    def update_model(name: str, **fields: object) -> Call[Model]:
        """Change description, owner or tags."""
        return api_call(Model, "PATCH", f"models/{path_part(name)}", json=fields)

    @staticmethod
    def get_version(model: str, number: int) -> Call[VersionReply]:
        """Show a version with its evidence."""
        return api_call(VersionReply, "GET", f"models/{path_part(model)}/versions/{number}")

    @staticmethod
    def tag_version(model: str, number: int, tags: Mapping[str, str]) -> Call[ModelVersion]:
        """Replace the tags of a version."""
        return api_call(
            ModelVersion, "PATCH", f"models/{path_part(model)}/versions/{number}", json={"tags": dict(tags)}
        )

    @staticmethod
    def retire_version(model: str, number: int) -> Call[ModelVersion]:
        """Take a version out of use for good; refused while an alias names it."""
        return api_call(ModelVersion, "POST", f"models/{path_part(model)}/versions/{number}/retire")

    @staticmethod
    def list_promotions(
        *, model: str | None = None, state: str | None = None, after: str | None = None, limit: int = 50
    ) -> Call[Listed[Promotion]]:
        """List promotions, newest first."""
        return api_call(Listed[Promotion], "GET", "promotions", model=model, state=state, after=after, limit=limit)

    @staticmethod
    def create_promotion(
        model: str, version: int, *, alias: str = "champion", policy: str | None = None
    ) -> Call[Promotion]:
        """Ask that *alias* of *model* names *version*; the policy judges the evidence at once."""
        body = {"model": model, "version": version, "alias": alias, "policy": policy}
        return api_call(Promotion, "POST", "promotions", json=body)

    @staticmethod
    def get_promotion(promotion_id: str) -> Call[Promotion]:
        """Show one promotion."""
        return api_call(Promotion, "GET", f"promotions/{path_part(promotion_id)}")

    @staticmethod
    def approve_promotion(promotion_id: str, reason: str = "") -> Call[Promotion]:
        """Approve somebody else's request; the alias moves."""
        return api_call(Promotion, "POST", f"promotions/{path_part(promotion_id)}/approve", json={"reason": reason})

    @staticmethod
    def refuse_promotion(promotion_id: str, reason: str = "") -> Call[Promotion]:
        """Refuse a request."""
        return api_call(Promotion, "POST", f"promotions/{path_part(promotion_id)}/refuse", json={"reason": reason})

    # Deployments and configuration

    @staticmethod
    def list_deployments(*, after: str | None = None, limit: int = 100) -> Call[Listed[DeploymentReply]]:
        """List deployments with what runs."""
        return api_call(Listed[DeploymentReply], "GET", "deployments", after=after, limit=limit)

    @staticmethod
    def create_deployment(
        name: str, model: str, *, alias: str = "champion", config: Mapping[str, Any] | None = None
    ) -> Call[DeploymentReply]:
        """Create a deployment that follows *alias* of *model*."""
        body = {"name": name, "model": model, "alias": alias, "config": dict(config or {})}
        return api_call(DeploymentReply, "POST", "deployments", json=body)

    @staticmethod
    def get_deployment(name: str) -> Call[DeploymentReply]:
        """Show a deployment: wanted, running, figures."""
        return api_call(DeploymentReply, "GET", f"deployments/{path_part(name)}")

    @staticmethod
    def delete_deployment(name: str) -> Call[None]:
        """Stop serving and remove the deployment; its history stays in the ledger."""
        return Call(method="DELETE", path=f"/api/v1/deployments/{path_part(name)}", read=read_nothing)

    @staticmethod
    def configure(
        name: str, changes: Mapping[str, Any], *, note: str = "", etag: str | None = None
    ) -> Call[DeploymentReply]:
        """Publish a change of configuration as a new release; with *etag*, only if nobody changed it meanwhile."""
        return Call(
            method="PATCH",
            path=f"/api/v1/deployments/{path_part(name)}/config",
            read=reader_of(DeploymentReply),
            json={"changes": dict(changes), "note": note},
            headers={"If-Match": etag} if etag else {},
        )

    @staticmethod
    def plan_configuration(name: str, changes: Mapping[str, Any]) -> Call[ConfigPlan]:
        """Say what a change would do, without doing it."""
        path = f"deployments/{path_part(name)}/config"
        return api_call(ConfigPlan, "PATCH", path, json={"changes": dict(changes)}, dry_run=True)

    @staticmethod
    def list_releases(name: str, *, after: str | None = None, limit: int = 50) -> Call[Listed[Release]]:
        """List the releases of a deployment's configuration, newest first."""
        return api_call(Listed[Release], "GET", f"deployments/{path_part(name)}/releases", after=after, limit=limit)

    @staticmethod
    def rollback(name: str, release: int, *, note: str = "") -> Call[DeploymentReply]:
        """Bring the configuration of an earlier release back, as a new one."""
        body = {"release": release, "note": note}
        return api_call(DeploymentReply, "POST", f"deployments/{path_part(name)}/rollback", json=body)

    @staticmethod
    def served_at(name: str, time: datetime) -> Call[ServedReply]:
        """Say what the deployment served at *time*."""
        return api_call(ServedReply, "GET", f"deployments/{path_part(name)}/at", time=time)

    @staticmethod
    def list_config_items() -> Call[Listed[ConfigItemReply]]:
        """List the config items with their types and bounds."""
        return api_call(Listed[ConfigItemReply], "GET", "config-items")

    # Watching

    @staticmethod
    def get_series(name: str, subject: str, *, since_s: float = 900, step_s: float | None = None) -> Call[SeriesReply]:
        """Read the last *since_s* seconds of a series."""
        return api_call(SeriesReply, "GET", "series", name=name, subject=subject, since=since_s, step=step_s)

    @staticmethod
    def get_report() -> Call[dict[str, Any]]:
        """Read the eight figures of every deployment."""
        return api_call(dict[str, Any], "GET", "report")

    @staticmethod
    def list_probes() -> Call[Listed[ProbeReply]]:
        """List the latest results of the periodic checks."""
        return api_call(Listed[ProbeReply], "GET", "probes")

    @staticmethod
    def list_alert_rules(*, limit: int = 100) -> Call[Listed[AlertRule]]:
        """List alert rules."""
        return api_call(Listed[AlertRule], "GET", "alert-rules", limit=limit)

    @staticmethod
    def create_alert_rule(name: str, **fields: object) -> Call[AlertRule]:
        """Make a rule; fields are those of AlertRuleRequest."""
        return api_call(AlertRule, "POST", "alert-rules", json={"name": name, **fields})

    @staticmethod
    def delete_alert_rule(rule_id: str) -> Call[None]:
        """Remove a rule."""
        return Call(method="DELETE", path=f"/api/v1/alert-rules/{path_part(rule_id)}", read=read_nothing)

    @staticmethod
    def list_alerts(*, is_open: bool | None = None, after: str | None = None, limit: int = 50) -> Call[Listed[Alert]]:
        """List alerts, newest first."""
        return api_call(Listed[Alert], "GET", "alerts", is_open=is_open, after=after, limit=limit)

    @staticmethod
    def list_channels() -> Call[Listed[ChannelReply]]:
        """List channels."""
        return api_call(Listed[ChannelReply], "GET", "channels")

    @staticmethod
    def create_channel(name: str, url: str) -> Call[ChannelReply]:
        """Make a webhook channel; its host must be on the allow-list. The reply shows the signing secret once."""
        return api_call(ChannelReply, "POST", "channels", json={"name": name, "url": url})

    @staticmethod
    def delete_channel(channel_id: str) -> Call[None]:
        """Remove a channel."""
        return Call(method="DELETE", path=f"/api/v1/channels/{path_part(channel_id)}", read=read_nothing)

    # The ledger

    @staticmethod
    def search_records(*, after: str | None = None, limit: int = 50, **filters: object) -> Call[Listed[RecordReply]]:
        """
        Search the ledger, newest first; filters: since, until, kind, action, actor, subject, ip, model, version,
        deployment, label, status, min_latency_ms, request_id, text.
        """
        return api_call(Listed[RecordReply], "GET", "audit/records", after=after, limit=limit, **filters)

    @staticmethod
    def verify_ledger() -> Call[VerifyReply]:
        """Recompute the whole ledger from its bytes."""
        return api_call(VerifyReply, "POST", "audit/verify")
