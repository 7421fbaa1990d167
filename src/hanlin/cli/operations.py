"""Commands of operation: deployments, predictions, tasks, schedules, keys, alerts, the ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from hanlin.cli.context import connect, connect_gateway, layout, rows, screen, send, show
from hanlin.cli.factory import pairs, texts
from hanlin.cli.following import follow_task
from hanlin.domain import ConflictError, NotFoundError
from hanlin.sdk import Calls

app = typer.Typer()
deployment = typer.Typer(help="Deployments 部署", no_args_is_help=True)
task = typer.Typer(help="Tasks 任务", no_args_is_help=True)
schedule = typer.Typer(help="Schedules 计划", no_args_is_help=True)
audit = typer.Typer(help="The ledger 审计账本", no_args_is_help=True)
keys = typer.Typer(help="Keys 密钥", no_args_is_help=True)
for name, group in (
    ("deployment", deployment),
    ("task", task),
    ("schedule", schedule),
    ("audit", audit),
    ("keys", keys),
):
    app.add_typer(group, name=name)


@app.command()
def deploy(
    name: str,
    model: str,
    alias: str = "champion",
    config: Annotated[list[str] | None, typer.Option("--set", help="ITEM=VALUE, repeatable.")] = None,
) -> None:
    """Create a deployment that follows ALIAS of MODEL."""
    show(send(Calls.create_deployment(name, model, alias=alias, config=pairs(config or []))))


@app.command()
def predict(
    name: str,
    texts: Annotated[list[str], typer.Argument(help="One or more texts.")],
    truncate: bool = False,
    key: Annotated[str, typer.Option(help="A key; the platform's own otherwise.")] = "",
) -> None:
    """Ask a deployment."""
    with connect_gateway(key) as client:
        reply = client.classify(name, texts, truncate=truncate)
    lines = [(row["label"], f"{row['score']:.4f}", texts[row["index"]][:60]) for row in reply["data"]]
    show(reply, lambda: rows(f"{name} v{reply['version']}", ("label", "score", "text"), lines))


@app.command()
def report() -> None:
    """Print the eight figures of every deployment."""
    show(send(Calls.get_report()))


@app.command()
def alerts(open_only: Annotated[bool, typer.Option("--open", help="Only those that last.")] = False) -> None:
    """List alerts."""
    found = send(Calls.list_alerts(is_open=True if open_only else None)).data
    lines = [(a.fired_at.isoformat(), a.severity, a.rule_name, a.subject, a.value, a.resolved_at or "") for a in found]
    show(found, lambda: rows("", ("fired", "severity", "rule", "subject", "value", "resolved"), lines))


@deployment.command("list")
def list_deployments() -> None:
    """List deployments."""
    found = send(Calls.list_deployments()).data
    lines = [(d.deployment.name, d.state, d.deployment.version, d.deployment.release, d.message) for d in found]
    show(found, lambda: rows("", ("deployment", "state", "version", "release", "message"), lines))


@deployment.command("show")
def show_deployment(name: str) -> None:
    """Show what is wanted, what runs, and how it does."""
    show(send(Calls.get_deployment(name)))


@deployment.command("scale")
def scale(name: str, minimum: int, maximum: int) -> None:
    """Set the bounds of the replica count."""
    show(send(Calls.configure(name, {"min_replicas": minimum, "max_replicas": maximum}, note="scaled")))


@deployment.command("config")
def config(
    name: str,
    changes: Annotated[list[str], typer.Argument(help="ITEM=VALUE …")],
    note: str = "",
    dry_run: Annotated[bool, typer.Option(help="Only say what it would do.")] = False,
) -> None:
    """Publish a change of configuration as a new release."""
    call: Any = Calls.plan_configuration(name, pairs(changes))
    show(send(call if dry_run else Calls.configure(name, pairs(changes), note=note)))


@deployment.command("releases")
def releases(name: str) -> None:
    """List the releases of the configuration."""
    found = send(Calls.list_releases(name)).data
    lines = [(r.number, r.created_at.isoformat(), r.created_by, r.note, r.rolled_back_to or "") for r in found]
    show(found, lambda: rows(name, ("release", "at", "by", "note", "rolled back to"), lines))


@deployment.command("rollback")
def rollback(name: str, release: int, note: str = "") -> None:
    """Bring the configuration of an earlier release back."""
    show(send(Calls.rollback(name, release, note=note)))


@deployment.command("at")
def served_at(name: str, time: datetime) -> None:
    """Say what the deployment served at a time."""
    show(send(Calls.served_at(name, time if time.tzinfo else time.replace(tzinfo=UTC))))


@deployment.command("delete")
def delete_deployment(name: str) -> None:
    """Stop serving and remove the deployment."""
    send(Calls.delete_deployment(name))


@task.command("list")
def list_tasks(state: str | None = None, kind: str | None = None) -> None:
    """List tasks, newest first."""
    found = send(Calls.list_tasks(state=state, kind=kind)).data
    lines = [(t.id, t.kind, t.state, t.attempt, t.created_at.isoformat()) for t in found]
    show(found, lambda: rows("", ("task", "kind", "state", "attempt", "created"), lines))


@task.command("show")
def show_task(task_id: str) -> None:
    """Show a task."""
    show(send(Calls.get_task(task_id)))


@task.command("log")
def task_log(task_id: str, after: int = 0) -> None:
    """Print a task's log."""
    found = send(Calls.get_task_log(task_id, after=after, limit=5000))
    lines = [(line.at.isoformat(), line.message, line.fields or "") for line in found.lines]
    show(found, lambda: rows(task_id, ("at", "message", "fields"), lines))


@task.command("run")
def run(
    kind: str,
    params: Annotated[list[str] | None, typer.Argument(help="ITEM=VALUE …")] = None,
    at: Annotated[datetime | None, typer.Option(help="Not now but then (UTC).")] = None,
    detach: bool = False,
) -> None:
    """Run a task now, or at a time."""
    when = at.replace(tzinfo=UTC) if at is not None else None
    with connect() as client:
        created = client.send(Calls.create_task(kind, pairs(params or []), run_at=when))
        show(created if detach or when is not None else follow_task(client, created, screen))


@task.command("cancel")
def cancel(task_id: str) -> None:
    """Stop a task."""
    show(send(Calls.cancel_task(task_id)))


@task.command("retry")
def retry(task_id: str) -> None:
    """Run a failed or cancelled task again."""
    show(send(Calls.retry_task(task_id)))


@schedule.command("list")
def list_schedules() -> None:
    """List schedules."""
    found = send(Calls.list_schedules()).data
    lines = [(s.id, s.kind, s.cron, s.timezone, s.next_run_at.isoformat()) for s in found]
    show(found, lambda: rows("", ("schedule", "kind", "cron", "time zone", "next run"), lines))


@schedule.command("add")
def add_schedule(
    kind: str,
    cron: Annotated[str, typer.Argument(help="minute hour day month weekday, e.g. '0 3 * * 1'")],
    params: Annotated[list[str] | None, typer.Argument(help="ITEM=VALUE …")] = None,
    timezone: str = "UTC",
) -> None:
    """Create tasks by a cron line."""
    show(send(Calls.create_schedule(kind, pairs(params or []), cron=cron, timezone=timezone)))


@schedule.command("remove")
def remove_schedule(schedule_id: str) -> None:
    """Remove a schedule."""
    send(Calls.delete_schedule(schedule_id))


@audit.command("search")
def search(
    filters: Annotated[list[str] | None, typer.Argument(help="label=负面 status=200 since=2026-01-01 text=…")] = None,
    limit: int = 20,
) -> None:
    """Search the ledger, newest first."""
    wishes: dict[str, Any] = {"limit": limit, **texts(filters or [])}
    found = send(Calls.search_records(**wishes)).data
    lines = [
        (f"{r.writer}/{r.index}", r.at.isoformat(), r.action, r.actor, r.status, r.details.get("label", ""))
        for r in found
    ]
    show(found, lambda: rows("", ("record", "at", "action", "actor", "status", "label"), lines))


@audit.command("verify")
def verify() -> None:
    """Recompute the whole ledger from the data folder's bytes; exit status 1 when anything is not what was written."""
    from hanlin.audit import LedgerKeys
    from hanlin.audit import verify as recompute

    place = layout()
    if not place.ledger.is_dir():
        raise NotFoundError(f"there is no ledger in {place.root}", code="ledger_not_found", hint="name it with --data")
    found = recompute(place.ledger, LedgerKeys.load(place.secrets))
    lines = [(log.writer, log.size, log.root[:16], log.finding or "intact", log.first_bad_index) for log in found.logs]
    report = {"is_intact": found.is_intact, "size": found.size, "root": found.root, "logs": found.logs}
    show(report, lambda: rows("", ("log", "records", "root", "finding", "first bad"), lines))
    if not found.is_intact:
        bad = next(log for log in found.logs if not log.is_intact)
        raise ConflictError(
            f"log {bad.writer}, record {bad.first_bad_index}: {bad.finding}",
            code="ledger_not_intact",
            hint="keep the folder as it is and compare it with a copy",
        )


@keys.command("list")
def list_keys() -> None:
    """List the keys of programs."""
    found = send(Calls.list_keys()).data
    lines = [(k.id, k.name, ", ".join(k.roles), ", ".join(k.deployments), _state(k)) for k in found]
    show(found, lambda: rows("", ("key", "name", "roles", "deployments", "state"), lines))


@keys.command("create")
def create_key(
    name: str,
    role: Annotated[list[str] | None, typer.Option(help="Repeatable; caller when left out.")] = None,
    deployments: Annotated[
        list[str] | None, typer.Option("--deployment", help="Repeatable; all when left out.")
    ] = None,
    days: Annotated[float | None, typer.Option(help="Days until it expires.")] = None,
) -> None:
    """Make a key; it is printed once."""
    call = Calls.create_key(name, roles=role or ["caller"], deployments=deployments or ["*"], expires_in_days=days)
    made = send(call)
    printer: Callable[[], Any] = lambda: rows(made.name, ("key",), [(made.key,)])  # noqa: E731
    show(made, printer)


@keys.command("revoke")
def revoke_key(key_id: str) -> None:
    """End a key for good."""
    show(send(Calls.revoke_key(key_id)))


def _state(key: Any) -> str:
    return "revoked" if key.revoked_at else f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else "valid"
