"""The console as one ASGI app, to be mounted at the root beside the management API."""

from __future__ import annotations

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from hanlin.console import live
from hanlin.console.edge import Edge
from hanlin.console.pages import STATIC, Pages, here
from hanlin.console.views import (
    alerts,
    corpora,
    deployments,
    keys,
    ledger,
    models,
    overview,
    playground,
    promotions,
    schedules,
    sessions,
    tasks,
    versions,
)
from hanlin.console.visit import Parts, guest
from hanlin.domain import InternalError, InvalidInputError, NotFoundError, PlatformError, UnauthenticatedError
from hanlin.settings import Settings

VIEWS = (
    sessions,
    overview,
    models,
    versions,
    promotions,
    corpora,
    deployments,
    playground,
    tasks,
    schedules,
    ledger,
    alerts,
    keys,
    live,
)


def create_console(
    settings: Settings, *, gateway_url: str, control_url: str, transport: httpx.AsyncBaseTransport | None = None
) -> ASGIApp:
    """
    Return the console: pages at /, their static files and one stream of events.

    It answers to the host names of ``settings.control.allowed_hosts`` only, keeps nothing itself, and asks the API at
    *control_url* (and, for the playground, the gateway at *gateway_url*) with the key of whoever has signed in.
    *transport* replaces the network where a test brings its own.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.parts = Parts(
        settings=settings,
        pages=Pages(),
        transport=transport or httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=200)),
        control_url=control_url,
        gateway_url=gateway_url,
    )
    for view in VIEWS:
        app.include_router(view.router)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.exception_handler(PlatformError)(_show_problem)
    app.exception_handler(HTTPException)(_show_http_error)
    app.exception_handler(RequestValidationError)(_show_invalid)
    app.exception_handler(Exception)(_show_fault)
    return Edge(app, hosts=settings.control.allowed_hosts)


async def _show_problem(request: Request, error: Exception) -> Response:
    """Show what went wrong in the visitor's language; who has no session (any more) is asked to sign in."""
    if not isinstance(error, PlatformError):
        raise error
    visit = guest(request)
    if isinstance(error, UnauthenticatedError) and request.url.path != "/sign-in":
        return _sign_in(request, is_fragment=visit.is_fragment)
    template = "problem.html" if visit.is_fragment else "error.html"
    return visit.render(template, status=error.status, problem=error)


def _sign_in(request: Request, *, is_fragment: bool) -> Response:
    if is_fragment:
        return Response(status_code=204, headers={"HX-Redirect": "/sign-in"})
    wanted = here(request) if request.method == "GET" else "/"
    target = str(httpx.URL("/sign-in", params={"next": wanted} if wanted != "/" else {}))
    return RedirectResponse(target, 303)


async def _show_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404:
        return await _show_problem(request, NotFoundError("there is no such page", code="page_not_found"))
    response = await _show_problem(request, InvalidInputError(str(error.detail)))
    response.status_code = error.status_code
    return response


async def _show_invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    return await _show_problem(request, InvalidInputError(f"{first['loc'][-1]}: {first['msg']}"))


async def _show_fault(request: Request, _: Exception) -> Response:
    """Show that the fault is ours; the server's log has the rest."""
    return await _show_problem(request, InternalError("something went wrong on our side", hint="the log says more"))
