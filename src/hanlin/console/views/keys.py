"""Keys of programs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from fastapi import APIRouter, Response

from hanlin.console.visit import Fields, Member
from hanlin.domain import Role
from hanlin.sdk import Calls

router = APIRouter()


@router.get("/keys")
async def list_keys(visit: Member, after: str | None = None) -> Response:
    """List keys, without their secrets."""
    page, deployments = await asyncio.gather(
        visit.api.send(Calls.list_keys(after=after)), visit.api.send(Calls.list_deployments())
    )
    names = [reply.deployment.name for reply in deployments.data]
    roles = [role.value for role in Role]
    return visit.render("keys.html", page=page, deployments=names, roles=roles, now=datetime.now(UTC))


@router.post("/keys")
async def create_key(visit: Member, form: Fields) -> Response:
    """Make a key and show its secret, this once."""
    call = Calls.create_key(
        form.text("name"),
        roles=form.lists.get("roles", []),
        deployments=form.lists.get("deployments") or ["*"],
        expires_in_days=form.whole_number("expires_in_days"),
        requests_per_minute=form.whole_number("requests_per_minute"),
    )
    key = await visit.api.send(call)
    return visit.render("secret.html", secret=key.key, kind="key", back="/keys")


@router.post("/keys/{key_id}/revoke")
async def revoke_key(visit: Member, key_id: str, _: Fields) -> Response:
    """End a key for good."""
    key = await visit.api.send(Calls.revoke_key(key_id))
    return visit.go("/keys", "key_revoked", key.name)
