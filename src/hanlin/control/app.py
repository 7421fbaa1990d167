"""The management API as one ASGI app."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException

import hanlin
from hanlin.control.routes import audit, corpora, deployments, models, sessions, tasks, watch
from hanlin.control.services import Services
from hanlin.domain import (
    InternalError,
    InvalidInputError,
    MethodNotAllowedError,
    NotFoundError,
    PlatformError,
    TooLargeError,
    UnavailableError,
    new_uuid,
)
from hanlin.wire import problem_body

logger = logging.getLogger(__name__)
REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
MAX_BODY_BYTES = 1_048_576  # of a JSON body; uploads have a setting of their own
PROBLEM = "application/problem+json"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
Handler = Callable[[Request], Awaitable[Response]]


def create_app(services: Services) -> FastAPI:
    """Return the app: /api/v1, its OpenAPI document, health endpoints and /metrics."""
    app = FastAPI(
        title="Hanlin management API",
        version=hanlin.__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.state.services = services
    for module in (sessions, corpora, tasks, models, deployments, watch, audit):
        app.include_router(module.router, prefix="/api/v1", max_body_size=MAX_BODY_BYTES)
    app.middleware("http")(_edge)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(PlatformError)(_problem)
    _add_health(app, services)
    return app


async def _edge(request: Request, call_next: Handler) -> Response:
    """Give every request its id, and turn our own faults into clean errors."""
    given = request.headers.get("X-Request-Id", "")
    request.state.request_id = given if REQUEST_ID.match(given) else new_uuid()
    try:
        response = await call_next(request)
    except Exception:
        logger.exception("request failed", extra={"request_id": request.state.request_id})
        response = await _problem(request, InternalError("something went wrong on our side", hint="see the log"))
    if response.status_code == 413 and response.headers.get("Content-Type") != PROBLEM:  # the framework's own
        limit = f"the body is longer than {MAX_BODY_BYTES:,} bytes"
        too_large = TooLargeError(limit, code="body_too_large", hint="send files to /api/v1/uploads")
        response = await _problem(request, too_large)
    response.headers["X-Request-Id"] = request.state.request_id
    return response


async def _problem(request: Request, error: Exception) -> Response:
    if not isinstance(error, PlatformError):
        raise error
    _record_refusal(request, error)
    language = request.headers.get("Accept-Language", "")
    body = problem_body(error, request_id=request.state.request_id, instance=request.url.path, language=language)
    headers = {"Retry-After": f"{max(1.0, error.retry_after_s or 1.0):.0f}"} if error.is_retryable else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(body, error.status, headers, media_type=PROBLEM)


def _record_refusal(request: Request, error: PlatformError) -> None:
    context = getattr(request.state, "context", None)
    if context is None or request.method in SAFE_METHODS or error.code == "ledger_unavailable":
        return
    services: Services = request.app.state.services
    action = f"refused {request.method} {request.url.path}"
    try:
        services.changes.record_refusal(context, action, error)
    except PlatformError:
        logger.warning("refusal not recorded", extra={"request_id": request.state.request_id})


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    code = "malformed_json" if first["type"] == "json_invalid" else "invalid_input"
    message = f"{where}: {first['msg']}" if where else str(first["msg"])
    hint = "the OpenAPI document at /api/v1/openapi.json describes the request"
    return await _problem(request, InvalidInputError(message, code=code, hint=hint, param=where or None))


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 413:
        return Response(status_code=413)
    if methods := _methods_of(request):
        hint = f"it takes {', '.join(methods)}"
        problem = MethodNotAllowedError(f"{request.method} is not for {request.url.path}", hint=hint)
        response = await _problem(request, problem)
        response.headers["Allow"] = ", ".join(methods)
        return response
    if error.status_code == 404:
        return await _problem(request, NotFoundError(f"there is nothing at {request.url.path}", code="path_not_found"))
    if error.status_code == 413:
        limit = f"the body is longer than {MAX_BODY_BYTES:,} bytes"
        return await _problem(
            request, TooLargeError(limit, code="body_too_large", hint="send files to /api/v1/uploads")
        )
    return await _problem(request, InvalidInputError(str(error.detail)))


def _methods_of(request: Request) -> list[str]:
    """Return what can be done with the path of *request*, by any route."""
    matching = (route for route in iter_route_contexts(request.app.routes) if route.methods)
    return sorted({m for r in matching if r.path_regex.match(request.url.path) for m in r.methods or ()})


def _add_health(app: FastAPI, services: Services) -> None:
    @app.get("/livez", include_in_schema=False)
    def live() -> PlainTextResponse:
        return PlainTextResponse("ok")

    @app.get("/startupz", include_in_schema=False)
    @app.get("/readyz", include_in_schema=False)
    def ready() -> JSONResponse:
        services.store.leases.holder_of("readiness")  # raises when the store does not answer
        if services.ledger_failed():
            raise UnavailableError("the ledger does not take records", code="ledger_unavailable")
        return JSONResponse({"ready": True, "live": True})

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> PlainTextResponse:
        return PlainTextResponse(services.metrics(), media_type="text/plain; version=0.0.4")
