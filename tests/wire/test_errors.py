from __future__ import annotations

import json

import pytest

from hanlin.domain import (
    ForbiddenError,
    InternalError,
    NotFoundError,
    OverloadedError,
    PlatformError,
    RateLimitedError,
    TooLargeError,
    UnauthenticatedError,
)
from hanlin.wire import openai_body, problem_body, translate


class TestOpenAiBody:
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (UnauthenticatedError("x"), "authentication_error"),
            (ForbiddenError("x"), "permission_error"),
            (NotFoundError("x"), "invalid_request_error"),
            (TooLargeError("x"), "invalid_request_error"),
            (RateLimitedError("x"), "rate_limit_error"),
            (OverloadedError("x"), "server_error"),
            (InternalError("x"), "server_error"),
        ],
    )
    def test_has_the_type_that_clients_know(self, error: PlatformError, kind: str) -> None:
        """OpenAI's client libraries pick their exception by status and type."""
        assert json.loads(openai_body(error))["error"] == {
            "message": "x",
            "type": kind,
            "param": None,
            "code": error.code,
        }

    def test_says_what_would_be_right(self) -> None:
        """The hint follows the message; the parameter at fault is named."""
        error = TooLargeError("text 3 has 90 tokens, the limit is 64", code="text_too_long", hint="cut", param="input")

        body = json.loads(openai_body(error))["error"]

        assert body["message"] == "text 3 has 90 tokens, the limit is 64 (cut)"
        assert (body["code"], body["param"]) == ("text_too_long", "input")


class TestProblemBody:
    def test_follows_rfc_9457(self) -> None:
        """Type, title, status, detail, instance; and our code, hint and request id beside them."""
        error = NotFoundError("there is no model 'x'", code="model_not_found", hint="GET /api/v1/models")

        assert json.loads(problem_body(error, request_id="id-1", instance="/api/v1/models/x")) == {
            "type": "urn:hanlin:error:model_not_found",
            "title": "model not found",
            "status": 404,
            "detail": "there is no model 'x'",
            "instance": "/api/v1/models/x",
            "code": "model_not_found",
            "hint": "GET /api/v1/models",
            "param": None,
            "request_id": "id-1",
        }


class TestTranslate:
    @pytest.mark.parametrize("language", ["zh", "zh-CN,zh;q=0.9,en;q=0.8", "ZH-Hans"])
    def test_speaks_chinese_to_those_who_ask_for_it(self, language: str) -> None:
        """The table gives the sentence by code; the facts stay as they are."""
        error = OverloadedError("512 texts wait for reviews, the limit is 512")

        text = translate(error, language)

        assert text.startswith("请求过多")
        assert "the limit is 512" in text

    @pytest.mark.parametrize("language", ["", "en", "de,zh;q=0.5"])
    def test_speaks_english_to_all_others(self, language: str) -> None:
        """English is what is said where nothing else was asked for first."""
        assert translate(OverloadedError("full"), language) == "full"
