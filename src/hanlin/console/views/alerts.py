"""Alerts, the rules that raise them, and the channels that carry them."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response

from hanlin.console.visit import Fields, Member
from hanlin.domain import Comparison
from hanlin.monitoring import SERIES_NAMES
from hanlin.sdk import Calls

router = APIRouter()
SEVERITIES = ("warning", "critical")


@router.get("/alerts")
async def list_alerts(visit: Member, after: str | None = None) -> Response:
    """List alerts, rules and channels."""
    alerts, rules, channels, deployments = await asyncio.gather(
        visit.api.send(Calls.list_alerts(after=after)),
        visit.api.send(Calls.list_alert_rules()),
        visit.api.send(Calls.list_channels()),
        visit.api.send(Calls.list_deployments()),
    )
    word = visit.catalogue.word
    return visit.render(
        "alerts.html",
        page=alerts,
        rules=rules.data,
        channels=channels.data,
        series_options=[(name, word("measure", name)) for name in sorted(SERIES_NAMES)],
        deployment_options=[
            ("*", visit.text("each")),
            *((r.deployment.name, r.deployment.name) for r in deployments.data),
        ],
        comparison_options=[(one.value, word("comparison", one)) for one in Comparison],
        severity_options=[(one, word("state", one)) for one in SEVERITIES],
        channel_options=[("", "–"), *((channel.id, channel.name) for channel in channels.data)],
    )


@router.post("/alerts/rules")
async def create_rule(visit: Member, form: Fields) -> Response:
    """Make a rule."""
    call = Calls.create_alert_rule(
        form.text("name"),
        series=form.text("series"),
        deployment=form.text("deployment") or "*",
        comparison=form.text("comparison"),
        threshold=form.number("threshold"),
        for_s=form.number("for_s"),
        severity=form.text("severity") or SEVERITIES[0],
        channel_id=form.text_or_none("channel_id"),
    )
    rule = await visit.api.send(call)
    return visit.go("/alerts", "rule_created", rule.name)


@router.post("/alerts/rules/{rule_id}/delete")
async def delete_rule(visit: Member, rule_id: str, _: Fields) -> Response:
    """Remove a rule."""
    await visit.api.send(Calls.delete_alert_rule(rule_id))
    return visit.go("/alerts", "rule_deleted")


@router.post("/alerts/channels")
async def create_channel(visit: Member, form: Fields) -> Response:
    """Make a channel and show its signing secret, this once."""
    channel = await visit.api.send(Calls.create_channel(form.text("name"), form.text("url")))
    return visit.render("secret.html", secret=channel.secret, kind="channel", back="/alerts")


@router.post("/alerts/channels/{channel_id}/delete")
async def delete_channel(visit: Member, channel_id: str, _: Fields) -> Response:
    """Remove a channel."""
    await visit.api.send(Calls.delete_channel(channel_id))
    return visit.go("/alerts", "channel_deleted")
