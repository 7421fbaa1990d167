"""
HTTP/1.1 on httptools: one asyncio protocol per connection, one request under way at a time.

Limits hold before memory is spent: header bytes, body bytes, and the time a request may take to arrive. What arrives
behind a request that is being answered waits, and reading pauses, so that a client cannot queue without end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import httptools

from hanlin.domain import InvalidInputError, PlatformError, TooLargeError
from hanlin.settings import GatewaySettings

logger = logging.getLogger(__name__)
MAX_HEADER_BYTES = 32_768
REASONS = {
    200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict", 413: "Content Too Large",
    422: "Unprocessable Content", 429: "Too Many Requests", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 503: "Service Unavailable", 504: "Gateway Timeout", 507: "Insufficient Storage",
}  # fmt: skip


@dataclass(slots=True)
class HttpRequest:
    """A request that has arrived whole; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    ip: str


@dataclass(slots=True)
class HttpResponse:
    """What goes back."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]
Refusal = Callable[[PlatformError, str], HttpResponse]


class Connections:
    """The open connections of a server: counted, and closed together."""

    def __init__(self, handler: Handler, refuse: Refusal, settings: GatewaySettings) -> None:
        self.handler, self.refuse, self.settings = handler, refuse, settings
        self.open: set[HttpProtocol] = set()
        self.is_draining = False

    def __call__(self) -> HttpProtocol:
        """Make the protocol of one more connection."""
        return HttpProtocol(self)

    async def drain(self) -> None:
        """Let requests under way finish (within the settings' drain time), then close everything."""
        self.is_draining = True
        for connection in list(self.open):
            connection.close_when_idle()
        deadline = asyncio.get_running_loop().time() + self.settings.drain_s
        while self.open and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # a bounded wait, once, at the very end
        for connection in list(self.open):
            connection.abort()


class HttpProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: Connections) -> None:
        self._server, self._settings = server, server.settings
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pending: list[tuple[HttpRequest, bool]] = []
        self._ip = ""
        self._url, self._body = b"", bytearray()
        self._headers: dict[str, str] = {}
        self._header_bytes, self._in_body, self._arriving = 0, False, False

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or turn it away when there are too many."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._ip = peer[0] if isinstance(peer, tuple) else ""
        self._server.open.add(self)
        if len(self._server.open) > self._settings.max_connections or self._server.is_draining:
            transport.abort()
            return
        self._watch(self._settings.idle_timeout_s)

    def connection_lost(self, _: Exception | None) -> None:
        """Free what the client was waiting for."""
        self._server.open.discard(self)
        self._cancel_timer()
        self._pending.clear()
        if self._task is not None:
            self._task.cancel()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a request past a limit or malformed is answered and the connection closed."""
        if not self._arriving and self._task is None:
            self._arriving = True
            self._watch(self._settings.read_timeout_s)
        if not self._in_body:
            self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
            if not self._in_body and self._header_bytes > MAX_HEADER_BYTES and self._arriving:
                self._give_up(
                    431, TooLargeError(f"the header is longer than {MAX_HEADER_BYTES:,} bytes", code="header_too_large")
                )
        except TooLargeError as error:
            self._give_up(413, error)
        except httptools.HttpParserUpgrade:
            self._give_up(400, InvalidInputError("this server speaks HTTP/1.1 only", code="malformed_request"))
        except httptools.HttpParserError:
            self._give_up(400, InvalidInputError("this is not a valid HTTP/1.1 request", code="malformed_request"))

    # httptools' side

    def on_url(self, url: bytes) -> None:
        """Take (a part of) the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; a promised body that is too long is refused before it is read."""
        key = name.lower().decode("latin-1")
        if key == "content-length" and value.isdigit() and int(value) > self._settings.max_body_bytes:
            raise self._too_large(int(value))
        self._headers[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The header is whole; the body begins."""
        self._in_body = True
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._body += data
        if len(self._body) > self._settings.max_body_bytes:
            raise self._too_large(len(self._body))

    def on_message_complete(self) -> None:
        """The request is whole: answer it, or let it wait its turn."""
        path = httptools.parse_url(self._url).path.decode("latin-1")
        method = self._parser.get_method().decode("ascii")
        request = HttpRequest(method, path, self._headers, bytes(self._body), self._ip)
        self._pending.append((request, self._parser.should_keep_alive()))
        self._reset()
        self._cancel_timer()
        if self._task is None:
            self._next()
        elif self._transport is not None:
            self._transport.pause_reading()

    # answering

    def _next(self) -> None:
        request, keep_alive = self._pending.pop(0)
        self._task = self._loop.create_task(self._answer(request, keep_alive))

    async def _answer(self, request: HttpRequest, keep_alive: bool) -> None:
        response = await self._server.handler(request)
        self._task = None
        if self._transport is None:
            return
        keep_alive = keep_alive and not self._server.is_draining
        self._transport.write(render(response, keep_alive=keep_alive, with_body=request.method != "HEAD"))
        if not keep_alive:
            self._transport.close()
        elif self._pending:
            self._next()
        else:
            self._transport.resume_reading()
            self._watch(self._settings.idle_timeout_s)

    def close_when_idle(self) -> None:
        """Close now if nothing is under way; else when it is answered."""
        if self._task is None and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _give_up(self, status: int, error: PlatformError) -> None:
        self._cancel_timer()
        if self._transport is None:
            return
        response = self._server.refuse(error, self._url.decode("latin-1", "replace"))
        response.status = status
        self._transport.write(render(response, keep_alive=False))
        self._transport.close()

    def _too_large(self, found: int) -> TooLargeError:
        limit = self._settings.max_body_bytes
        return TooLargeError(
            f"the body has {found:,} bytes or more, the limit is {limit:,}",
            code="body_too_large",
            hint="send fewer texts",
        )

    def _reset(self) -> None:
        self._url, self._headers, self._body = b"", {}, bytearray()
        self._header_bytes, self._in_body, self._arriving = 0, False, False

    def _watch(self, seconds: float) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(seconds, self._timed_out)

    def _timed_out(self) -> None:
        if self._arriving:
            self._give_up(408, InvalidInputError("the request did not arrive whole in time", code="request_timeout"))
        elif self._task is None and self._transport is not None:
            self._transport.close()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def render(response: HttpResponse, *, keep_alive: bool, with_body: bool = True) -> bytes:
    """Return *response* as bytes on the wire."""
    lines = [
        f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Unknown')}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "Connection: keep-alive" if keep_alive else "Connection: close",
    ]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
    return head + response.body if with_body else head
