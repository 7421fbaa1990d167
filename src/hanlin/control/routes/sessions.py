"""Sessions and keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Query, Request

from hanlin.auth import caller_of
from hanlin.control.changes import Context
from hanlin.control.routes.access import KeyManager, Known, Parts, services_of
from hanlin.domain import ApiKey, InvalidInputError, KeyKind, permissions_of
from hanlin.store import Page
from hanlin.wire.admin import KeyReply, KeyRequest, Listed, SessionReply, SessionRequest

router = APIRouter(tags=["access"])


@router.post("/sessions", status_code=201)
def create_session(request: Request, body: SessionRequest, parts: Parts) -> SessionReply:
    """Exchange a one-time token (`hanlin token` prints one) for a session; the token is used up."""
    now, lasts = datetime.now(UTC), timedelta(hours=parts.settings.control.session_hours)
    waiting = parts.keys.check(body.token, now)
    ip = request.client.host if request.client else ""
    context = Context(caller=caller_of(waiting), request_id=request.state.request_id, ip=ip)
    with parts.changes.record(context, "session.created", key=waiting.id):
        row, key = parts.keys.exchange(body.token, now, lasts=lasts)
    parts.publish_keys()
    return _session(row, key)


@router.get("/sessions/current")
def get_session(request: Request, context: Known) -> SessionReply:
    """Say who I am."""
    row = services_of(request).store.keys.get(context.caller.key_id)
    return _session(row, None)


@router.delete("/sessions/current", status_code=204)
def delete_session(parts: Parts, context: Known) -> None:
    """Sign out: the session's key is revoked."""
    with parts.changes.record(context, "session.ended", key=context.caller.key_id):
        parts.keys.revoke(context.caller.key_id, datetime.now(UTC))
    parts.publish_keys()


@router.get("/keys")
def list_keys(
    parts: Parts, _: KeyManager, after: str | None = None, limit: int = Query(100, ge=1, le=500)
) -> Listed[KeyReply]:
    """List the keys of programs, without their secrets."""
    page: Page[ApiKey] = parts.store.keys.list(limit=limit, after=after, kind=KeyKind.API.value)
    more = page.next_cursor is not None
    return Listed(data=[_reply(row) for row in page.items], next_cursor=page.next_cursor, has_more=more)


@router.post("/keys", status_code=201)
def create_key(body: KeyRequest, parts: Parts, context: KeyManager) -> KeyReply:
    """Make a key for a program; the secret is in this answer only. It opens gateways by the time of the answer."""
    if not permissions_of(frozenset(body.roles)):
        raise InvalidInputError("a key needs at least one role", code="roles_missing", param="roles")
    lasts = timedelta(days=body.expires_in_days) if body.expires_in_days else None
    with parts.changes.record(context, "key.created", name=body.name, roles=sorted(body.roles)) as details:
        row, key = parts.keys.issue(
            kind=KeyKind.API,
            name=body.name,
            principal=f"key:{body.name}",
            roles=body.roles,
            by=context.caller.principal,
            now=datetime.now(UTC),
            lasts=lasts,
            deployments=body.deployments,
            requests_per_minute=body.requests_per_minute,
        )
        details["key"] = row.id
    parts.publish_keys()
    return _reply(row, key)


@router.delete("/keys/{key_id}")
def revoke_key(key_id: str, parts: Parts, context: KeyManager) -> KeyReply:
    """End a key for good; gateways know by the time of the answer."""
    with parts.changes.record(context, "key.revoked", key=key_id):
        revoked = parts.keys.revoke(key_id, datetime.now(UTC))
    parts.publish_keys()
    return _reply(revoked)


def _session(row: ApiKey, key: str | None) -> SessionReply:
    return SessionReply(
        token=key, principal=row.principal, roles=sorted(row.roles), workspace=row.workspace, expires_at=row.expires_at
    )


def _reply(row: ApiKey, key: str | None = None) -> KeyReply:
    return KeyReply(
        id=row.id,
        kind=row.kind.value,
        name=row.name,
        principal=row.principal,
        roles=sorted(row.roles),
        deployments=list(row.deployments),
        workspace=row.workspace,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        requests_per_minute=row.requests_per_minute,
        key=key,
    )
