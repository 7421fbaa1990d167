"""Models: the lines of versions, their aliases, and how their versions compare."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Response

from hanlin.console.charts import Chart, columns, intervals
from hanlin.console.visit import Fields, Member
from hanlin.domain import ModelVersion
from hanlin.sdk import Calls
from hanlin.wire.admin import VersionReply

router = APIRouter()
COMPARED = 12


@router.get("/models")
async def list_models(visit: Member, after: str | None = None) -> Response:
    """List the models."""
    return visit.render("models.html", page=await visit.api.send(Calls.list_models(after=after)))


@router.get("/models/{name}")
async def show_model(visit: Member, name: str) -> Response:
    """Show a model with its versions side by side."""
    reply = await visit.api.send(Calls.get_model(name))
    newest = reply.versions[:COMPARED]
    shown = await asyncio.gather(*(visit.api.send(Calls.get_version(name, v.number)) for v in newest))
    facts = {version.version.number: facts_of(version) for version in shown}
    return visit.render(
        "model.html",
        reply=reply,
        model=reply.model,
        facts=facts,
        aliases={a.version: [b.name for b in reply.aliases if b.version == a.version] for a in reply.aliases},
        charts=comparison([v for v in newest if v.is_servable], facts),
    )


@router.post("/models/{name}")
async def change_model(visit: Member, name: str, form: Fields) -> Response:
    """Change description and owner."""
    await visit.api.send(Calls.update_model(name, description=form.text("description"), owner=form.text("owner")))
    return visit.go(f"/models/{name}", "model_changed", name)


def facts_of(reply: VersionReply) -> dict[str, Any]:
    """Return the latest figure of each name, as policies see them."""
    facts: dict[str, Any] = {}
    for evidence in sorted(reply.evidence, key=lambda one: one.created_at):
        facts |= evidence.figures
    return facts


def comparison(versions: Sequence[ModelVersion], facts: Mapping[int, Mapping[str, Any]]) -> dict[str, Chart]:
    """Return charts of accuracy (with its interval), latency and size over servable versions."""
    named = {f"v{v.number} {v.precision}": (v, facts.get(v.number, {})) for v in versions}
    rows = [
        (name, f["accuracy_low"], f["accuracy"], f["accuracy_high"])
        for name, (_, f) in named.items()
        if "accuracy_low" in f
    ]
    latency = {name: f["latency_p50_ms"] for name, (_, f) in named.items() if "latency_p50_ms" in f}
    return {
        "accuracy": intervals(rows) if rows else {},
        "latency": columns(latency, unit="ms") if latency else {},
        "size": columns({name: float(v.size_bytes) for name, (v, _) in named.items()}, unit="bytes") if named else {},
    }
