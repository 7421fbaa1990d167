"""Schedules: cron lines that create tasks."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response

from hanlin.console.views.tasks import fields_of, read_params
from hanlin.console.visit import Fields, Member
from hanlin.domain import MissedRuns
from hanlin.sdk import Calls

router = APIRouter()


@router.get("/schedules")
async def list_schedules(visit: Member, kind: str = "evaluate", after: str | None = None) -> Response:
    """List schedules, with the form for another one."""
    page, kinds = await asyncio.gather(
        visit.api.send(Calls.list_schedules(after=after)), visit.api.send(Calls.list_task_kinds())
    )
    chosen = next((one for one in kinds.data if one.kind == kind), kinds.data[0])
    return visit.render(
        "schedules.html",
        page=page,
        kind_options=[(one.kind, visit.catalogue.word("kind", one.kind)) for one in kinds.data],
        chosen=chosen,
        fields=fields_of(chosen),
        missed_options=[(one.value, visit.catalogue.word("missed_runs", one)) for one in MissedRuns],
    )


@router.post("/schedules")
async def create_schedule(visit: Member, form: Fields) -> Response:
    """Create a schedule."""
    kinds = (await visit.api.send(Calls.list_task_kinds())).data
    kind = next((one for one in kinds if one.kind == form.text("kind")), kinds[0])
    call = Calls.create_schedule(
        kind.kind,
        read_params(form, kind),
        cron=form.text("cron"),
        timezone=form.text("timezone") or "UTC",
        missed_runs=form.text("missed_runs") or MissedRuns.ONCE.value,
    )
    await visit.api.send(call)
    return visit.go("/schedules", "schedule_created")


@router.post("/schedules/{schedule_id}/delete")
async def delete_schedule(visit: Member, schedule_id: str, _: Fields) -> Response:
    """Remove a schedule."""
    await visit.api.send(Calls.delete_schedule(schedule_id))
    return visit.go("/schedules", "schedule_deleted")
