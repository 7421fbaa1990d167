"""Signing in with a one-time token, signing out, and the visitor's own language and theme."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime

from fastapi import APIRouter, Response

from hanlin.console.i18n import NAMES
from hanlin.console.visit import THEMES, YEAR_S, Fields, Guest
from hanlin.domain import PlatformError, UnauthenticatedError
from hanlin.sdk import Calls

router = APIRouter()
LOCAL = re.compile(r"/(?![/\\])[^\x00-\x1f\\]*")


@router.get("/sign-in")
async def show_sign_in(visit: Guest, token: str = "", next: str = "/") -> Response:  # noqa: A002 - as in the address
    """Ask for the token; one from a link waits for a click, so that previews of the link do not use it up."""
    return visit.render("sign_in.html", token=token, next=local(next), problem=None)


@router.post("/sign-in")
async def sign_in(visit: Guest, form: Fields) -> Response:
    """Exchange the token for a session."""
    try:
        session = await visit.api.send(Calls.create_session(form.text("token")))
    except PlatformError as problem:
        status = problem.status if isinstance(problem, UnauthenticatedError) else 503
        return visit.render("sign_in.html", status=status, token="", next=local(form.text("next")), problem=problem)
    response = visit.go(local(form.text("next")))
    lasts = (session.expires_at - datetime.now(UTC)).total_seconds() if session.expires_at else None
    visit.keep(response, "session", session.token or "", lasts_s=int(lasts) if lasts else None)
    response.delete_cookie(visit.parts.cookie("visitor"))
    return response


@router.post("/sign-out")
async def sign_out(visit: Guest, _: Fields) -> Response:
    """End the session."""
    response = visit.go("/sign-in")
    response.delete_cookie(visit.parts.cookie("session"))
    with suppress(UnauthenticatedError):  # it may have ended already
        await visit.api.send(Calls.delete_session())
    return response


@router.post("/preferences")
async def set_preferences(visit: Guest, form: Fields) -> Response:
    """Keep the language or the theme."""
    response = visit.go(local(form.text("next")))
    for name, known in (("language", NAMES), ("theme", THEMES)):
        if form.text(name) in known:
            visit.keep(response, name, form.text(name), lasts_s=YEAR_S)
    return response


def local(path: str) -> str:
    """Return *path* if it leads to a page of ours, else the overview."""
    return path if LOCAL.fullmatch(path) else "/"
