"""Which path leads where, and how errors leave: the edge of the data plane."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import msgspec

from hanlin.domain import InternalError, InvalidInputError, NotFoundError, PlatformError, UnavailableError, new_uuid
from hanlin.gateway.access import Access, may_call
from hanlin.gateway.http import HttpRequest, HttpResponse
from hanlin.gateway.lanes import Lane
from hanlin.gateway.predict import Predict
from hanlin.wire import ModelEntry, ModelList, openai_body

logger = logging.getLogger(__name__)
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
TRACE_PARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class App:
    """Answers every request of the gateway's port."""

    def __init__(
        self,
        predict: Predict,
        access: Access,
        *,
        is_ready: Callable[[], str],
        render_metrics: Callable[[], str],
    ) -> None:
        self._predict, self._access = predict, access
        self._is_ready, self._render_metrics = is_ready, render_metrics
        self.lanes: dict[str, Lane] = {}

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Route *request* and render whatever goes wrong."""
        given = request.headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else new_uuid()
        try:
            response = await self._route(request, request_id)
        except PlatformError as error:
            response = render_error(error, request.headers.get("accept-language", ""))
        except Exception:
            logger.exception("request failed", extra={"request_id": request_id})
            response = render_error(InternalError("something went wrong on our side"), "")
        response.headers["X-Request-Id"] = request_id
        trace = request.headers.get("traceparent", "")
        if TRACE_PARENT.fullmatch(trace):
            response.headers["traceparent"] = trace
        return response

    async def _route(self, request: HttpRequest, request_id: str) -> HttpResponse:
        path = request.path
        if path == "/v1/classify":
            _expect(request, "POST")
            return await self._predict(request, request_id)
        if path == "/v1/models":
            _expect(request, "GET")
            return self._models(request)
        if path in {"/livez", "/readyz", "/startupz"}:
            return self._health(path)
        if path == "/metrics":
            body = self._render_metrics().encode()
            return HttpResponse(200, body, "text/plain; version=0.0.4; charset=utf-8")
        raise NotFoundError(f"there is nothing at {path}", code="path_not_found", hint="POST /v1/classify")

    def _models(self, request: HttpRequest) -> HttpResponse:
        grant = self._access.authenticate(request.headers.get("authorization", ""))
        entries = [
            ModelEntry(
                id=name, created=0, owned_by=lane.route.workspace, version=lane.route.version, digest=lane.route.digest
            )
            for name, lane in sorted(self.lanes.items())
            if may_call(grant, name)
        ]
        return HttpResponse(200, msgspec.json.encode(ModelList(data=entries)))

    def _health(self, path: str) -> HttpResponse:
        if path != "/livez" and (reason := self._is_ready()):
            raise UnavailableError(reason, code="not_ready", retry_after_s=1.0)
        return HttpResponse(200, b'{"ready":true,"live":true}')


def render_error(error: PlatformError, language: str) -> HttpResponse:
    """Render *error* for clients of /v1."""
    response = HttpResponse(error.status, openai_body(error, language=language))
    if error.is_retryable:
        response.headers["Retry-After"] = f"{max(1.0, error.retry_after_s or 1.0):.0f}"
    if error.code == "method_not_allowed":
        response.status = 405
    return response


def _expect(request: HttpRequest, method: str) -> None:
    if request.method != method:
        raise InvalidInputError(
            f"{request.method} is not for {request.path}", code="method_not_allowed", hint=f"use {method}"
        )
