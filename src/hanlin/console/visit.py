"""Who is looking, in which language, and on whose behalf the SDK is called."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, cast
from urllib.parse import quote, unquote, urlsplit

import httpx
from fastapi import Depends, Request, Response
from starlette.datastructures import UploadFile

from hanlin.console.edge import form_token, is_form_token
from hanlin.console.i18n import Catalogue, catalogue, choose_language
from hanlin.console.pages import Pages
from hanlin.domain import ForbiddenError, InvalidInputError, Permission, UnauthenticatedError, permissions_of
from hanlin.sdk import AsyncClient, Calls
from hanlin.settings import Settings
from hanlin.wire.admin import SessionReply

THEMES = ("light", "dark")
YEAR_S = 365 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the views work with; *transport* is shared, so that connections are kept."""

    settings: Settings
    pages: Pages
    transport: httpx.AsyncBaseTransport
    control_url: str
    gateway_url: str

    def cookie(self, name: str) -> str:
        """Return the name of a cookie: cookies do not tell ports apart, so ours carry that of this installation."""
        return f"hanlin_{name}_{urlsplit(self.control_url).port or 0}"

    def api(self, key: str) -> AsyncClient:
        """Return a client of the management API for the holder of *key*."""
        return AsyncClient(self.control_url, key, transport=self.transport)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request of a visitor; *session* is None before signing in."""

    request: Request
    parts: Parts
    key: str
    secret: str  # what the form token is derived from: the session's key, or a random cookie before signing in
    catalogue: Catalogue
    theme: str
    api: AsyncClient
    session: SessionReply | None = None
    notice: tuple[str, ...] = ()
    is_new: bool = field(default=False)

    @property
    def form_token(self) -> str:
        """Return the token that every form of this visitor carries."""
        return form_token(self.secret)

    @property
    def is_fragment(self) -> bool:
        """Whether a part of a page is asked for rather than a page."""
        return self.request.headers.get("HX-Request") == "true"

    def may(self, permission: str) -> bool:
        """Whether the visitor's roles allow *permission*; decides what is offered, the API decides what is done."""
        return self.session is not None and Permission(permission) in permissions_of(frozenset(self.session.roles))

    def text(self, wording: str, /, **values: object) -> str:
        """Return a text in the visitor's language."""
        return self.catalogue.text(wording, **values)

    def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """Answer with a page or a fragment."""
        response = self.parts.pages.render(self, template, status=status, **context)
        if self.is_new:
            self.keep(response, "visitor", self.secret)
        if self.notice:
            response.delete_cookie(self.parts.cookie("notice"))
        return response

    def go(self, path: str, *notice: str) -> Response:
        """Answer with the way to *path*, where *notice* (a code, and what it is about) will be shown once."""
        if self.is_fragment:
            response = Response(status_code=204, headers={"HX-Redirect": path})
        else:
            response = Response(status_code=303, headers={"Location": path})
        if notice:
            self.keep(response, "notice", "|".join(quote(part, safe="") for part in notice), lasts_s=60)
        return response

    def keep(self, response: Response, name: str, value: str, *, lasts_s: int | None = None) -> None:
        """Set a cookie that scripts cannot read and other sites cannot send."""
        response.set_cookie(
            self.parts.cookie(name),
            value,
            max_age=lasts_s,
            httponly=True,
            samesite="strict",
            secure=self.request.url.scheme == "https",
        )


def parts_of(request: Request) -> Parts:
    """Return the parts that create_console put together."""
    return cast("Parts", request.app.state.parts)


def guest(request: Request) -> Visit:
    """Return the visit of somebody who may not have signed in."""
    parts = parts_of(request)
    key = request.cookies.get(parts.cookie("session"), "")
    visitor = request.cookies.get(parts.cookie("visitor"), "")
    language = choose_language(
        request.cookies.get(parts.cookie("language")), request.headers.get("Accept-Language", "")
    )
    theme = request.cookies.get(parts.cookie("theme"), "")
    notice = request.cookies.get(parts.cookie("notice"), "")
    return Visit(
        request=request,
        parts=parts,
        key=key,
        secret=key or visitor or secrets.token_urlsafe(32),
        catalogue=catalogue(language),
        theme=theme if theme in THEMES else THEMES[0],
        api=parts.api(key),
        notice=tuple(unquote(part) for part in notice.split("|")) if notice else (),
        is_new=not (key or visitor),
    )


async def member(request: Request) -> Visit:
    """Return the visit of somebody who has signed in, or raise UnauthenticatedError."""
    visit = guest(request)
    if not visit.key:
        raise UnauthenticatedError("nobody has signed in", code="signed_out")
    session = await visit.api.send(Calls.get_session())
    fields = {name: getattr(visit, name) for name in Visit.__dataclass_fields__}
    return Visit(**(fields | {"session": session}))


class Form(dict[str, str]):
    """The fields of a form; *files* are those that were sent along, *lists* has every value of repeated fields."""

    def __init__(self, fields: Mapping[str, str], files: Mapping[str, UploadFile], lists: Mapping[str, list[str]]):
        super().__init__(fields)
        self.files, self.lists = files, lists

    def text(self, name: str) -> str:
        """Return a field without the space around it; an absent one is empty."""
        return self.get(name, "").strip()

    def text_or_none(self, name: str) -> str | None:
        """Return a field without the space around it, or None where it is empty."""
        return self.text(name) or None

    def whole_number(self, name: str) -> int | None:
        """Return a field as a whole number, None where it is empty; anything else raises InvalidInputError."""
        text = self.text(name)
        if text and not text.removeprefix("-").isdecimal():
            raise InvalidInputError(f"{name} is {text!r}, not a whole number", param=name)
        return int(text) if text else None

    def number(self, name: str) -> float:
        """Return a field as a number, zero where it is empty; anything else raises InvalidInputError."""
        try:
            return float(self.text(name) or "0")
        except ValueError:
            raise InvalidInputError(f"{name} is {self.text(name)!r}, not a number", param=name) from None


async def checked_form(request: Request) -> Form:
    """Return the form that came with the request, or raise ForbiddenError where it is not one of our own pages'."""
    visit = guest(request)
    data = await request.form()
    fields = {name: value for name, value in data.items() if isinstance(value, str)}
    given = fields.pop("form_token", "") or request.headers.get("X-Form-Token", "")
    if not is_form_token(given, visit.secret):
        raise ForbiddenError(
            "the form did not come from a page of this visit", code="form_expired", hint="load the page again"
        )
    files = {name: value for name, value in data.items() if isinstance(value, UploadFile) and value.filename}
    lists = {name: [v for v in data.getlist(name) if isinstance(v, str)] for name in data}
    return Form(fields, files, lists)


Guest = Annotated[Visit, Depends(guest)]
Member = Annotated[Visit, Depends(member)]
Fields = Annotated[Form, Depends(checked_form)]
