"""Deployments: what serves, how many of it, under which configuration, and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Response

from hanlin.console.views.overview import WINDOWS, overview_charts
from hanlin.console.visit import Fields, Form, Member, Visit
from hanlin.domain import InvalidInputError, PlatformError, Release
from hanlin.sdk import Calls
from hanlin.wire.admin import ConfigItemReply, ServedReply

router = APIRouter()
TABS = ("status", "configuration", "releases")
SCALE_ITEMS = ("min_replicas", "max_replicas", "target_concurrency")


@router.get("/deployments")
async def list_deployments(visit: Member, after: str | None = None) -> Response:
    """List deployments with what runs."""
    page, models = await asyncio.gather(
        visit.api.send(Calls.list_deployments(after=after)), visit.api.send(Calls.list_models())
    )
    options = [(reply.model.name, reply.model.name) for reply in models.data]
    return visit.render("deployments.html", page=page, model_options=options)


@router.post("/deployments")
async def create_deployment(visit: Member, form: Fields) -> Response:
    """Create a deployment that follows an alias of a model."""
    items = (await visit.api.send(Calls.list_config_items())).data
    config = read_config(form, items)
    call = Calls.create_deployment(
        form.text("name"), form.text("model"), alias=form.text("alias") or "champion", config=config
    )
    reply = await visit.api.send(call)
    return visit.go(f"/deployments/{reply.deployment.name}", "deployment_created", reply.deployment.name)


@router.get("/deployments/{name}")
async def show_deployment(
    visit: Member, name: str, tab: str = "status", at: str = "", after: str | None = None
) -> Response:
    """Show a deployment: how it does, its configuration, or its releases."""
    tab = tab if tab in TABS else TABS[0]
    reply, items = await asyncio.gather(
        visit.api.send(Calls.get_deployment(name)), visit.api.send(Calls.list_config_items())
    )
    context: dict[str, Any] = {}
    if tab == "status":
        context["charts"] = await overview_charts(visit, name, WINDOWS["15m"])
    if tab == "releases":
        page = await visit.api.send(Calls.list_releases(name, after=after))
        context |= {"page": page, "changes": release_changes(page.data), "served": await _served(visit, name, at)}
    return visit.render(
        "deployment.html",
        reply=reply,
        deployment=reply.deployment,
        spec=reply.deployment.spec.as_dict(),
        items=items.data,
        scale_items=[item for item in items.data if item.name in SCALE_ITEMS],
        tab=tab,
        at=at,
        **context,
    )


@router.post("/deployments/{name}/plan")
async def plan_configuration(visit: Member, name: str, form: Fields) -> Response:
    """Say what the wanted configuration would change, with the button that publishes it."""
    items = (await visit.api.send(Calls.list_config_items())).data
    changes = read_config(form, items)
    reply, plan = await asyncio.gather(
        visit.api.send(Calls.get_deployment(name)), visit.api.send(Calls.plan_configuration(name, changes))
    )
    wanted = {item: value[1] for item, value in plan.changes.items()}
    return visit.render("plan.html", name=name, plan=plan, wanted=wanted, etag=form.text("etag") or reply.etag)


@router.post("/deployments/{name}/configuration")
async def publish_configuration(visit: Member, name: str, form: Fields) -> Response:
    """Publish a planned change as the next release, unless somebody changed the configuration meanwhile."""
    items = (await visit.api.send(Calls.list_config_items())).data
    call = Calls.configure(name, read_config(form, items), note=form.text("note"), etag=form.text_or_none("etag"))
    reply = await visit.api.send(call)
    return visit.go(f"/deployments/{name}?tab=releases", "release_published", str(reply.deployment.release), name)


@router.post("/deployments/{name}/rollback")
async def roll_back(visit: Member, name: str, form: Fields) -> Response:
    """Bring the configuration of an earlier release back."""
    release = form.whole_number("release") or 0
    reply = await visit.api.send(Calls.rollback(name, release, note=form.text("note")))
    return visit.go(f"/deployments/{name}?tab=releases", "rolled_back", str(release), str(reply.deployment.release))


@router.post("/deployments/{name}/delete")
async def delete_deployment(visit: Member, name: str, form: Fields) -> Response:
    """Stop serving; the name has to be typed."""
    if form.text("confirmation") != name:
        raise InvalidInputError("the name that was typed is not that of the deployment", code="confirmation_differs")
    await visit.api.send(Calls.delete_deployment(name))
    return visit.go("/deployments", "deployment_deleted", name)


def read_config(form: Form, items: Sequence[ConfigItemReply]) -> dict[str, Any]:
    """Return the config items that the form names, with the types of their schema."""
    return {
        item.name: form.whole_number(item.name) if item.type == "int" else form.text(item.name)
        for item in items
        if form.text(item.name)
    }


def release_changes(releases: Sequence[Release]) -> dict[int, Mapping[str, tuple[Any, Any]]]:
    """Return what each release changed against the one before it, where that is known."""
    specs = {release.number: release.spec.as_dict() for release in releases}
    return {
        number: {
            item: (specs[number - 1][item], value) for item, value in spec.items() if specs[number - 1][item] != value
        }
        for number, spec in specs.items()
        if number - 1 in specs
    }


async def _served(visit: Visit, name: str, at: str) -> ServedReply | None:
    """Return what was served at an instant (UTC where it names no zone)."""
    if not at:
        return None
    try:
        instant = datetime.fromisoformat(at)
        return await visit.api.send(Calls.served_at(name, instant if instant.tzinfo else instant.replace(tzinfo=UTC)))
    except (ValueError, PlatformError):
        return None
