"""From an error reply back to the error that was raised."""

from __future__ import annotations

import json
from typing import Any

import httpx

from hanlin import domain
from hanlin.domain import InternalError, PlatformError

_BY_STATUS: dict[int, type[PlatformError]] = {
    400: domain.InvalidInputError,
    401: domain.UnauthenticatedError,
    403: domain.ForbiddenError,
    404: domain.NotFoundError,
    409: domain.ConflictError,
    412: domain.PreconditionFailedError,
    413: domain.TooLargeError,
    422: domain.UnprocessableError,
    429: domain.RateLimitedError,
    503: domain.UnavailableError,
    504: domain.DeadlineExceededError,
    507: domain.StorageFullError,
}


def read_error(response: httpx.Response) -> PlatformError:
    """Return the error that an OpenAI-shaped or RFC 9457 reply describes, with the id under which it was logged."""
    body = _body(response)
    error = body.get("error")
    inner = error if isinstance(error, dict) else body
    cls = _BY_STATUS.get(response.status_code, InternalError)
    message = inner.get("message") or inner.get("detail") or f"{response.request.url} answered {response.status_code}"
    after = response.headers.get("Retry-After", "")
    return cls(
        str(message),
        code=str(inner.get("code") or cls.code),
        hint=str(inner.get("hint") or ""),
        param=inner.get("param"),
        retry_after_s=float(after) if after.replace(".", "", 1).isdecimal() else None,
        request_id=response.headers.get("X-Request-Id") or str(inner.get("request_id") or ""),
    )


def _body(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return body if isinstance(body, dict) else {}
