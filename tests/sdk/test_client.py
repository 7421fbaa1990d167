from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest

from hanlin import domain
from hanlin.domain import InternalError, InvalidInputError, PlatformError, RateLimitedError, UnavailableError
from hanlin.sdk import AsyncClient, Call, Calls, Client
from hanlin.wire import openai_body, problem_body

ERRORS = [
    domain.InvalidInputError,
    domain.UnauthenticatedError,
    domain.ForbiddenError,
    domain.NotFoundError,
    domain.ConflictError,
    domain.PreconditionFailedError,
    domain.TooLargeError,
    domain.UnprocessableError,
    domain.RateLimitedError,
    domain.InternalError,
    domain.UnavailableError,
    domain.DeadlineExceededError,
    domain.StorageFullError,
]


@dataclass
class Hanlin:
    """Answers every request the same way and remembers what came, as the bytes of a real HTTP server."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def refuse(self, error: PlatformError, body: bytes, **headers: str) -> None:
        """Answer with *error* from now on."""
        self.status, self.body = error.status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture
def hanlin() -> Iterator[Hanlin]:
    """A server on loopback."""
    state = Hanlin()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.seen.append((self.command, self.path, headers, content))
            self.send_response(state.status)
            for name, value in {**state.headers, "Content-Length": str(len(state.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(state.body)

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def client(hanlin: Hanlin) -> Iterator[Client]:
    """A client of that server."""
    with Client(hanlin.url, "hk_secret") as made:
        yield made


class TestErrors:
    @pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
    def test_management_errors_come_back_as_they_were_raised(
        self, client: Client, hanlin: Hanlin, kind: type[PlatformError]
    ) -> None:
        """An error of the management API is raised with its class, message, code, hint, parameter and request id."""
        raised = kind("没有版本 7", code="version_not_found", hint="见 hanlin model show", param="version")
        hanlin.refuse(raised, problem_body(raised, request_id="req-17", instance="/api/v1/models/m"))

        error = caught(client, Calls.get_model("m"))

        assert type(error) is kind
        assert (error.message, error.code, error.hint) == (raised.message, raised.code, raised.hint)
        assert (error.param, error.request_id, error.is_retryable) == ("version", "req-17", kind.is_retryable)

    @pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
    def test_prediction_errors_come_back_as_they_were_raised(
        self, client: Client, hanlin: Hanlin, kind: type[PlatformError]
    ) -> None:
        """An error of the gateway, in OpenAI's dialect, is raised as it was: class, code, hint, request id."""
        raised = kind("text 1 has 99 tokens", code="text_too_long", hint="shorten it", param="input")
        hanlin.refuse(raised, openai_body(raised), X_Request_Id="req-18")

        with pytest.raises(PlatformError) as info:
            client.classify("sentiment", "好")

        error = info.value
        assert type(error) is kind
        assert (error.code, error.param, error.request_id) == ("text_too_long", "input", "req-18")
        assert str(error) == "text 1 has 99 tokens (shorten it)"

    def test_says_when_to_come_back(self, client: Client, hanlin: Hanlin) -> None:
        """The pause that the server asks for is with the error."""
        raised = RateLimitedError("60 requests a minute are used up")
        hanlin.refuse(raised, openai_body(raised), Retry_After="2.5")

        assert caught(client, Calls.get_session()).retry_after_s == 2.5

    @pytest.mark.parametrize("after", ["", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "-1", "²"])
    def test_an_unclear_pause_is_none(self, client: Client, hanlin: Hanlin, after: str) -> None:
        """A pause that is not a number of seconds is as good as none."""
        raised = UnavailableError("not now")
        hanlin.refuse(raised, openai_body(raised), Retry_After=after.encode().decode("latin-1"))

        assert caught(client, Calls.get_session()).retry_after_s is None

    @pytest.mark.parametrize(
        "body", [b"", b"<html>Bad Gateway</html>", b"[]", b'"no"', b"\xff\xfe\x00", b'{"error": "text"}', b"null"]
    )
    def test_any_other_reply_is_an_error_all_the_same(self, client: Client, hanlin: Hanlin, body: bytes) -> None:
        """A reply that is not ours, such as a proxy's page, becomes an error that names address and status."""
        hanlin.status, hanlin.body = 502, body

        error = caught(client, Calls.get_session())

        assert type(error) is InternalError
        assert error.message == f"{hanlin.url}/api/v1/sessions/current answered 502"
        assert error.code == "internal_error"

    def test_a_refused_connection_is_unreachable(self) -> None:
        """Where nobody listens: which address, and how to start the platform (``unreachable``)."""
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"

            with Client(url) as client:
                error = caught(client, Calls.get_session())

        assert (type(error), error.code, error.is_retryable) == (UnavailableError, "unreachable", True)
        assert url in error.message
        assert "hanlin up" in error.hint

    def test_a_server_that_hangs_up_is_unreachable(self) -> None:
        """A connection that ends without an answer is the same error as none (``unreachable``)."""
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def hang_up() -> None:
                listener.accept()[0].close()

            hanging_up = threading.Thread(target=hang_up)
            hanging_up.start()

            with Client(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
                error = caught(client, Calls.get_session())
            hanging_up.join()

        assert error.code == "unreachable"

    async def test_the_asynchronous_client_raises_the_same(self, hanlin: Hanlin) -> None:
        """AsyncClient reports as Client does, also when a stream cannot be opened."""
        raised = InvalidInputError("no", code="name_invalid", hint="a-z")
        hanlin.refuse(raised, problem_body(raised, request_id="req-19", instance="/"))
        async with AsyncClient(hanlin.url) as client:
            with pytest.raises(InvalidInputError) as sent:
                await client.send(Calls.get_session())
            with pytest.raises(InvalidInputError) as streamed:
                async with client.events():
                    pass
        async with AsyncClient("http://127.0.0.1:1") as client:
            with pytest.raises(UnavailableError, match="does not answer"):
                await client.send(Calls.get_session())

        for info in (sent, streamed):
            assert (info.value.code, info.value.hint, info.value.request_id) == ("name_invalid", "a-z", "req-19")


class TestClient:
    def test_sends_the_key_with_every_call(self, client: Client, hanlin: Hanlin) -> None:
        """The key goes along as a bearer token; without a key there is no such header."""
        hanlin.body = b"{}"
        client.classify("m", "好")
        with Client(hanlin.url) as stranger:
            stranger.classify("m", "好")

        assert [headers.get("authorization") for *_, headers, _ in hanlin.seen] == ["Bearer hk_secret", None]

    def test_classify_sends_texts_as_they_are(self, client: Client, hanlin: Hanlin) -> None:
        """One text or a list of them, with the fields that were given; the reply is plain data."""
        hanlin.body = json.dumps({"data": [{"label": "正面"}]}).encode()

        reply = client.classify("情感", ["好", "坏"], truncate=True)

        method, path, _, content = hanlin.seen[0]
        assert (method, path) == ("POST", "/v1/classify")
        assert json.loads(content) == {"model": "情感", "input": ["好", "坏"], "truncate": True}
        assert reply["data"][0]["label"] == "正面"

    def test_uploads_under_any_name(self, client: Client, hanlin: Hanlin) -> None:
        """A file is sent as it is, under its own name, whatever characters that has."""
        hanlin.body = json.dumps({"upload": "u1", "filename": "语 料.csv", "size_bytes": 6, "sha256": "0"}).encode()

        reply = client.send(Calls.upload("语 料.csv", b"a,b\n1,"))

        method, path, headers, content = hanlin.seen[0]
        assert (method, content) == ("POST", b"a,b\n1,")
        assert path == "/api/v1/uploads?filename=%E8%AF%AD+%E6%96%99.csv"
        assert headers["content-type"] == "application/octet-stream"
        assert reply.upload == "u1"

    async def test_exchange_gives_the_headers_too(self, hanlin: Hanlin) -> None:
        """The request id and the timings of a reply are to be had with it."""
        hanlin.headers = {"X-Request-Id": "req-20"}
        async with AsyncClient(hanlin.url) as client:
            reply, headers = await client.exchange(Calls.get_report())

        assert (reply, headers["x-request-id"]) == ({}, "req-20")


class TestPaths:
    @pytest.mark.parametrize(
        "name", ["../keys", "a/b", "a?b=c", "a#b", "情感", "a b", "%2e%2e", "a;b", "a\\b", "..", "."]
    )
    def test_a_name_stays_one_part_of_the_path(self, client: Client, hanlin: Hanlin, name: str) -> None:
        """Whatever a name contains, it cannot reach another operation: it arrives as one part."""
        hanlin.status = 404

        caught(client, Calls.get_deployment(name))

        _, path, _, _ = hanlin.seen[0]
        assert path.startswith("/api/v1/deployments/")
        assert path.count("/") == 4
        assert not set("?#\\") & set(path)
        assert unquote(path.rpartition("/")[2]) == name


def caught(client: Client, call: Call[Any]) -> PlatformError:
    """Return the error that *call* ends in."""
    with pytest.raises(PlatformError) as info:
        client.send(call)
    return info.value
