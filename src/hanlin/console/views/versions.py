"""Model versions: training curves, quality, lineage, and what can be done with one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fastapi import APIRouter, Response

from hanlin.console.charts import Chart, line, over_steps
from hanlin.console.views.models import facts_of
from hanlin.console.visit import Fields, Member, Visit
from hanlin.domain import InvalidInputError, ModelVersion, PlatformError
from hanlin.sdk import Calls

router = APIRouter()
HEAT_LEVELS = 4


@router.get("/models/{name}/versions/{number}")
async def show_version(visit: Member, name: str, number: int) -> Response:
    """Show one version with everything that was measured about it."""
    reply, model = await asyncio.gather(
        visit.api.send(Calls.get_version(name, number)), visit.api.send(Calls.get_model(name))
    )
    quality = [evidence for evidence in reply.evidence if evidence.kind == "quality"]
    latest = max(quality, key=lambda evidence: evidence.created_at).figures if quality else {}
    task = await training_task(visit, reply.version)
    return visit.render(
        "version.html",
        reply=reply,
        version=reply.version,
        facts=facts_of(reply),
        quality=latest,
        matrix=heat(latest.get("confusion", ())),
        task=task,
        curves=await curves(visit, task) if task else {},
        others=[version.number for version in model.versions if version.number != number],
    )


@router.post("/models/{name}/versions/{number}/promote")
async def promote(visit: Member, name: str, number: int, form: Fields) -> Response:
    """Ask that an alias names this version."""
    alias, policy = form.text("alias") or "champion", form.text_or_none("policy")
    promotion = await visit.api.send(Calls.create_promotion(name, number, alias=alias, policy=policy))
    return visit.go(f"/promotions/{promotion.id}", f"promotion_{promotion.state.value}", name, str(number))


@router.post("/models/{name}/versions/{number}/retire")
async def retire(visit: Member, name: str, number: int, _: Fields) -> Response:
    """Take the version out of use."""
    await visit.api.send(Calls.retire_version(name, number))
    return visit.go(f"/models/{name}/versions/{number}", "version_retired", name, str(number))


@router.post("/models/{name}/versions/{number}/tags")
async def set_tags(visit: Member, name: str, number: int, form: Fields) -> Response:
    """Replace the tags."""
    await visit.api.send(Calls.tag_version(name, number, read_tags(form.text("tags"))))
    return visit.go(f"/models/{name}/versions/{number}", "version_tagged", name, str(number))


@router.post("/models/{name}/versions/{number}/{kind}")
async def start_task(
    visit: Member, name: str, number: int, kind: Literal["compress", "evaluate"], _: Fields
) -> Response:
    """Compress or evaluate this version."""
    task = await visit.api.send(Calls.create_task(kind, {"model": name, "version": number}))
    return visit.go(f"/tasks/{task.id}", "task_created")


async def training_task(visit: Visit, version: ModelVersion) -> str | None:
    """Return the task that trained *version*, or the one it was made from."""
    while (parent := version.lineage.get("parent")) is not None:
        version = (await visit.api.send(Calls.get_version(version.model, parent))).version
    return version.lineage.get("task")


async def curves(visit: Visit, task: str) -> dict[str, Chart]:
    """Return the training curves of a task, those of one kind in one chart; none where its files are gone."""
    try:
        series = (await visit.api.send(Calls.get_task_series(task))).series
    except PlatformError:
        return {}
    return group_curves(series, lambda name: visit.catalogue.word("series", name))


def group_curves(series: Mapping[str, Sequence[tuple[int, float]]], name_of: Any) -> dict[str, Chart]:
    """Return one chart per kind of series: losses, qualities (ratios), and each other one by itself."""
    groups: dict[str, list[str]] = {}
    for name in series:
        kind = "loss" if name.endswith("_loss") else "quality" if name.endswith(("accuracy", "f1")) else name
        groups.setdefault(kind, []).append(name)
    ordered = sorted(groups, key=lambda kind: ("loss", "quality", kind).index(kind))
    return {
        kind: over_steps(
            [line(name_of(name), series[name]) for name in groups[kind]], unit="ratio" if kind == "quality" else ""
        )
        for kind in ordered
    }


def heat(confusion: Sequence[Sequence[int]]) -> list[list[tuple[int, float, str]]]:
    """Return each cell with its share of the row and the class that colours it."""
    return [
        [(count, (share := count / max(1, sum(row))), _shade(share, is_hit=i == j)) for j, count in enumerate(row)]
        for i, row in enumerate(confusion)
    ]


def _shade(share: float, *, is_hit: bool) -> str:
    if is_hit:
        return f"heat-{min(HEAT_LEVELS, int(share * (HEAT_LEVELS + 1)))}"
    return "heat-0" if share < 0.02 else "heat-bad-1" if share < 0.15 else "heat-bad-2"


def read_tags(text: str) -> dict[str, str]:
    """Return lines of ``name=value`` as a mapping, or raise InvalidInputError."""
    tags: dict[str, str] = {}
    for entry in filter(None, map(str.strip, text.splitlines())):
        name, sign, value = entry.partition("=")
        if not sign or not name.strip():
            raise InvalidInputError(f"{json.dumps(entry, ensure_ascii=False)} is not name=value", code="tags_invalid")
        tags[name.strip()] = value.strip()
    return tags
