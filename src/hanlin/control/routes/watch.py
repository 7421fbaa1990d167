"""Figures, reports, probes, alerts, and the stream of events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from hanlin.control.routes.access import Operator, Parts, Reader, listed
from hanlin.control.services import Services
from hanlin.control.status import describe
from hanlin.domain import Alert, AlertRule, Channel, Comparison, InvalidInputError, TaskState
from hanlin.wire.admin import AlertRuleRequest, ChannelReply, ChannelRequest, Listed, ProbeReply, SeriesReply

router = APIRouter(tags=["watch"])
EVENT_S = 1.0


@router.get("/series")
def get_series(
    name: str,
    subject: str,
    parts: Parts,
    _: Reader,
    since: float = Query(900, gt=0, le=30 * 86_400, description="seconds back from now"),
    step: float | None = Query(None, gt=0, le=30 * 86_400, description="seconds per point"),
) -> SeriesReply:
    """Read the latest part of a series."""
    points = parts.series.query(name, subject, since_s=since, step_s=step)
    return SeriesReply(name=name, subject=subject, points=list(points))


@router.get("/report")
def get_report(parts: Parts, _: Reader) -> dict[str, Any]:
    """
    Read the eight figures of every deployment: accuracy, inference latency, throughput, end-to-end time, start
    time, iteration efficiency, stability, usage.
    """
    return dict(parts.report())


@router.get("/probes")
def list_probes(parts: Parts, _: Reader) -> Listed[ProbeReply]:
    """List the latest results of the periodic checks."""
    return Listed(data=list(parts.watch.probes()))


@router.get("/alert-rules")
def list_alert_rules(
    parts: Parts, _: Reader, after: str | None = None, limit: int = Query(100, ge=1, le=500)
) -> Listed[AlertRule]:
    """List alert rules."""
    return listed(parts.store.alert_rules.list(limit=limit, after=after))


@router.post("/alert-rules", status_code=201)
def create_alert_rule(body: AlertRuleRequest, parts: Parts, context: Operator) -> AlertRule:
    """Make a rule over one series."""
    if body.comparison not in set(Comparison):
        raise InvalidInputError(
            f"comparison is {body.comparison!r}", code="alert_rule_invalid", hint="above or below", param="comparison"
        )
    with parts.changes.record(context, "alert_rule.created", name=body.name) as details:
        rule = parts.alerts.create_rule(
            **body.model_dump(exclude={"comparison"}),
            comparison=Comparison(body.comparison),
            by=context.caller.principal,
        )
        details["rule"] = rule.id
    return rule


@router.delete("/alert-rules/{rule_id}", status_code=204)
def delete_alert_rule(rule_id: str, parts: Parts, context: Operator) -> None:
    """Remove a rule; its alerts stay."""
    parts.store.alert_rules.get(rule_id)
    with parts.changes.record(context, "alert_rule.deleted", rule=rule_id):
        parts.store.alert_rules.remove(rule_id)


@router.get("/alerts")
def list_alerts(
    parts: Parts,
    _: Reader,
    is_open: bool | None = None,
    after: str | None = None,
    limit: int = Query(50, ge=1, le=500),
) -> Listed[Alert]:
    """List alerts, newest first."""
    wanted = None if is_open is None else int(is_open)
    return listed(parts.store.alerts.list(limit=limit, after=after, newest_first=True, is_open=wanted))


@router.get("/channels")
def list_channels(parts: Parts, _: Reader) -> Listed[ChannelReply]:
    """List channels."""
    return Listed(data=[_channel(channel) for channel in parts.store.channels.iter()])


@router.post("/channels", status_code=201)
def create_channel(body: ChannelRequest, parts: Parts, context: Operator) -> ChannelReply:
    """Make a webhook channel; its host must be on the allow-list. The secret is in this answer only."""
    with parts.changes.record(context, "channel.created", name=body.name) as details:
        channel, secret = parts.alerts.create_channel(body.name, body.url, by=context.caller.principal)
        details["channel"] = channel.id
    return _channel(channel, secret)


@router.delete("/channels/{channel_id}", status_code=204)
def delete_channel(channel_id: str, parts: Parts, context: Operator) -> None:
    """Remove a channel; rules that used it stay silent."""
    parts.store.channels.get(channel_id)
    with parts.changes.record(context, "channel.deleted", channel=channel_id):
        parts.store.channels.remove(channel_id)


@router.get("/events")
async def stream_events(request: Request, parts: Parts, _: Reader) -> StreamingResponse:
    """Stream what happens as server-sent events: `overview` every second, `task` on each change of a task."""
    headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
    return StreamingResponse(_events(request, parts), media_type="text/event-stream", headers=headers)


async def _events(request: Request, parts: Services) -> AsyncIterator[str]:
    seen: dict[str, str] = {}
    while not (parts.is_stopping() or await request.is_disconnected()):
        overview, tasks = await asyncio.to_thread(_look, parts)
        yield f"event: overview\ndata: {json.dumps(overview, ensure_ascii=False)}\n\n"
        for task in tasks:
            body = json.dumps(task, ensure_ascii=False)
            if seen.get(task["id"]) != body:
                seen[task["id"]] = body
                yield f"event: task\ndata: {body}\n\n"
        await asyncio.sleep(EVENT_S)


def _look(parts: Services) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    deployments = [describe(parts, deployment) for deployment in parts.store.deployments.iter()]
    recent = parts.store.tasks.list(limit=20, newest_first=True).items
    overview = {
        "deployments": [
            {
                "name": reply.deployment.name,
                "state": reply.state,
                "message": reply.message,
                "version": reply.deployment.version,
                "ready": sum(replica.state == "ready" for replica in reply.replicas),
                "wanted": reply.deployment.wanted_replicas,
                "figures": reply.figures,
            }
            for reply in deployments
        ],
        "gateway": dict(parts.watch.gateway()),
        "host": dict(parts.watch.figures("host")),
        "tasks": {
            "running": sum(task.state is TaskState.RUNNING for task in recent),
            "queued": sum(task.state is TaskState.QUEUED for task in recent),
        },
        "open_alerts": len(parts.store.alerts.list(is_open=1).items),
    }
    tasks = [
        {"id": t.id, "kind": t.kind, "state": t.state.value, "attempt": t.attempt, "progress": dict(t.progress)}
        for t in recent
    ]
    return overview, tasks


def _channel(channel: Channel, secret: str | None = None) -> ChannelReply:
    return ChannelReply(
        id=channel.id,
        name=channel.name,
        url=channel.url,
        created_by=channel.created_by,
        created_at=channel.created_at,
        secret=secret,
    )
