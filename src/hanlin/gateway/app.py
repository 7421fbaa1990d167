"""Which path leads where, and how errors leave: the edge of the data plane."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping

import msgspec

from hanlin.domain import InternalError, InvalidInputError, NotFoundError, PlatformError, UnavailableError, new_uuid
from hanlin.gateway.access import Access
from hanlin.gateway.answers import METHOD_NOT_ALLOWED, render_error
from hanlin.gateway.http import HttpRequest, HttpResponse
from hanlin.gateway.lanes import Lane
from hanlin.gateway.predict import Predict
from hanlin.wire import ModelEntry, ModelList

logger = logging.getLogger(__name__)
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
TRACE_PARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
METHODS = {
    "/v1/classify": "POST",
    "/v1/models": "GET",
    "/livez": "GET",
    "/readyz": "GET",
    "/startupz": "GET",
    "/metrics": "GET",
}


class App:
    """Answers every request of the gateway's port."""

    def __init__(
        self,
        predict: Predict,
        access: Access,
        current: Mapping[str, Lane],
        *,
        troubles: Mapping[str, Callable[[], str]],
        render_metrics: Callable[[], str],
    ) -> None:
        self._predict, self._access, self._current = predict, access, current
        self._troubles, self._render_metrics = troubles, render_metrics

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
        if trace and TRACE_PARENT.fullmatch(trace):
            response.headers["traceparent"] = trace
        return response

    async def _route(self, request: HttpRequest, request_id: str) -> HttpResponse:
        path = request.path
        _check_method(request)
        if path == "/v1/classify":
            return await self._predict(request, request_id)
        if path == "/v1/models":
            return self._models(request)
        if path == "/metrics":
            body = self._render_metrics().encode()
            return HttpResponse(200, body, "text/plain; version=0.0.4; charset=utf-8")
        return self._health(path)

    def _models(self, request: HttpRequest) -> HttpResponse:
        caller = self._access.authenticate(request.headers.get("authorization", ""))
        routes = [lane.route for _, lane in sorted(self._current.items()) if caller.may_call(lane.route)]
        entries = [
            ModelEntry(id=r.deployment, created=0, owned_by=r.workspace, version=r.version, digest=r.digest)
            for r in routes
        ]
        return HttpResponse(200, msgspec.json.encode(ModelList(data=entries)))

    def _health(self, path: str) -> HttpResponse:
        trouble = self._troubles[path]()
        if trouble:
            raise UnavailableError(trouble, code="not_ready", retry_after_s=1.0)
        return HttpResponse(200, b'{"status":"ok"}')


def _check_method(request: HttpRequest) -> None:
    method = METHODS.get(request.path)
    if method is None:
        raise NotFoundError("there is nothing at this path", code="path_not_found", hint="POST /v1/classify")
    if request.method != method and (request.method, method) != ("HEAD", "GET"):
        raise InvalidInputError(
            f"{request.method} is not for {request.path}", code=METHOD_NOT_ALLOWED, hint=f"use {method}"
        )
