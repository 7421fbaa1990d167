"""How errors leave the gateway: in OpenAI's shape, translated, with the headers that say what to do."""

from __future__ import annotations

from hanlin.domain import PlatformError
from hanlin.gateway.http import HttpResponse
from hanlin.wire import openai_body

METHOD_NOT_ALLOWED = "method_not_allowed"


def render_error(error: PlatformError, language: str) -> HttpResponse:
    """Render *error* for clients of /v1."""
    response = HttpResponse(error.status, openai_body(error, language=language))
    if error.is_retryable:
        response.headers["Retry-After"] = f"{max(1.0, error.retry_after_s or 1.0):.0f}"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.code == METHOD_NOT_ALLOWED:
        response.status = 405
        response.headers["Allow"] = error.hint.rpartition(" ")[2]
    return response
