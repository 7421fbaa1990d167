"""What every route asks first: who calls, and may they?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Request

from hanlin.auth import caller_of, require
from hanlin.control.changes import Context
from hanlin.control.services import Services
from hanlin.domain import KeyKind, Permission, UnauthenticatedError
from hanlin.store import Page
from hanlin.wire.admin import Listed

T = TypeVar("T")


def services_of(request: Request) -> Services:
    """Return the parts that compose handed to the app."""
    return cast("Services", request.app.state.services)


def context_of(request: Request) -> Context:
    """Return on whose behalf the request comes, or raise UnauthenticatedError."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise UnauthenticatedError("no key came with the request", hint="send Authorization: Bearer hl_…")
    row = services_of(request).keys.check(key.strip(), datetime.now(UTC))
    if row.kind is KeyKind.ONE_TIME:
        raise UnauthenticatedError("a one-time token only opens a session", hint="POST it to /api/v1/sessions")
    ip = request.client.host if request.client else ""
    request.state.context = context = Context(caller=caller_of(row), request_id=request.state.request_id, ip=ip)
    return context


def allow(permission: Permission) -> Callable[[Request], Context]:
    """Make the dependency that lets only callers with *permission* pass."""

    def guard(request: Request) -> Context:
        context = context_of(request)
        require(context.caller, permission)
        return context

    guard.permission = permission  # type: ignore[attr-defined]
    return guard


Parts = Annotated[Services, Depends(services_of)]
Known = Annotated[Context, Depends(context_of)]
Reader = Annotated[Context, Depends(allow(Permission.READ))]
Builder = Annotated[Context, Depends(allow(Permission.BUILD))]
Approver = Annotated[Context, Depends(allow(Permission.APPROVE))]
Operator = Annotated[Context, Depends(allow(Permission.OPERATE))]
Auditor = Annotated[Context, Depends(allow(Permission.AUDIT))]
KeyManager = Annotated[Context, Depends(allow(Permission.MANAGE_KEYS))]


def listed(page: Page[T]) -> Listed[T]:
    """Return *page* as the API shows lists."""
    return Listed(data=page.items, next_cursor=page.next_cursor, has_more=page.next_cursor is not None)
