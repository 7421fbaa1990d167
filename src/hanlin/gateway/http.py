"""
HTTP/1.1 on httptools: one asyncio protocol per connection, one request under way at a time.

Limits hold before memory is spent: header bytes, body bytes, pieces of a body, and the time a request may take to
arrive or its answer to leave. What arrives behind a request that is being answered waits, and reading pauses, so that
a client can neither queue without end nor be answered out of order. Why this and not uvicorn: docs/adr/0020.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from time import time
from typing import cast

import httptools

from hanlin.domain import InvalidInputError, OverloadedError, PlatformError, TooLargeError
from hanlin.settings import GatewaySettings

logger = logging.getLogger(__name__)
MAX_HEADER_BYTES = 32_768
MAX_HEADERS = 100
WIRE_BYTES_PER_BODY_BYTE = 8  # a body sent in one-byte chunks takes six; more is somebody playing with chunk extensions
SWEEP_S = 0.25
LINGER_S = 2.0
LAST_CALL_S = 0.25  # an idle connection may have sent a request that we have not seen when draining begins
REASONS = {
    200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict", 413: "Content Too Large",
    422: "Unprocessable Content", 429: "Too Many Requests", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 503: "Service Unavailable", 504: "Gateway Timeout", 507: "Insufficient Storage",
}  # fmt: skip


@dataclass(slots=True)
class HttpRequest:
    """A request that has arrived whole; header names in lower case, a repeated header joined by commas."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    ip: str
    keep_alive: bool = True


@dataclass(slots=True)
class HttpResponse:
    """What goes back."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]
Refusal = Callable[[PlatformError, Mapping[str, str]], HttpResponse]


class Connections:
    """The open connections of a server: counted, watched for their deadlines, and closed together."""

    def __init__(self, handler: Handler, refuse: Refusal, settings: GatewaySettings) -> None:
        self.handler, self.refuse, self.settings = handler, refuse, settings
        self.open: set[HttpProtocol] = set()
        self.is_draining = False
        self._all_closed = asyncio.Event()
        self._sweep: asyncio.TimerHandle | None = None

    def __call__(self) -> HttpProtocol:
        """Make the protocol of one more connection."""
        return HttpProtocol(self, asyncio.get_running_loop())

    def opened(self, connection: HttpProtocol) -> None:
        """Count *connection* in."""
        self.open.add(connection)
        self._all_closed.clear()
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._look)

    def closed(self, connection: HttpProtocol) -> None:
        """Count *connection* out."""
        self.open.discard(connection)
        if not self.open:
            self._all_closed.set()

    async def drain(self) -> None:
        """
        Let requests under way finish, within the settings' drain time, then close everything.

        Every answer says ``Connection: close`` from now on; idle connections are closed after a last call.
        """
        self.is_draining = True
        await self._wait(min(LAST_CALL_S, self.settings.drain_s))
        for connection in list(self.open):
            connection.close_when_idle()
        await self._wait(self.settings.drain_s)
        for connection in list(self.open):
            connection.abort()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds if self.open else 0):
                await self._all_closed.wait()
        except TimeoutError:
            return

    def _look(self) -> None:
        """One timer for all connections: a timer each would cost more than parsing a request."""
        now = asyncio.get_running_loop().time()
        for connection in [one for one in self.open if one.deadline < now]:
            connection.timed_out()
        self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._look) if self.open else None


class HttpProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: Connections, loop: asyncio.AbstractEventLoop) -> None:
        self._server, self._settings, self._loop = server, server.settings, loop
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._pending: deque[HttpRequest] = deque()
        self._refusal: tuple[int, PlatformError] | None = None  # to be said when all before it is answered, then close
        self._is_blocked = False  # the client does not read what we write
        self._ip = ""
        self.deadline = 0.0
        self._reset()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or turn it away when there are too many."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports derive from nothing of asyncio
        peer = transport.get_extra_info("peername")
        self._ip = peer[0] if isinstance(peer, tuple) else ""
        self._server.opened(self)
        self._allow(self._settings.idle_timeout_s)
        limit = self._settings.max_connections
        if len(self._server.open) > limit:
            full = OverloadedError(f"{limit} connections are open, that is the limit", code="too_many_connections")
            self._refuse(503, full)

    def connection_lost(self, _: Exception | None) -> None:
        """Free what the client was waiting for."""
        self._transport = None
        self._server.closed(self)
        self._pending.clear()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a request past a limit or malformed is answered in its turn and the connection closed."""
        if self._refusal is not None:
            return
        self._wire_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # we never switch protocols: what came is answered as HTTP/1.1, then the connection is closed
        except httptools.HttpParserError:
            if self._refusal is None:
                self._refuse(400, _malformed("this is not a valid HTTP/1.1 request"))
        else:
            self._check_size()

    def pause_writing(self) -> None:
        """The client reads too slowly: give it its time, and take nothing more meanwhile."""
        self._is_blocked = True
        self._allow(self._settings.read_timeout_s)

    def resume_writing(self) -> None:
        """Go on."""
        self._is_blocked = False
        if self._task is None:
            self._go_on()

    # httptools' side

    def on_message_begin(self) -> None:
        """The first bytes of a request are there; the rest has to follow in time."""
        self._is_arriving = True
        if self._task is None:
            self._allow(self._settings.read_timeout_s)

    def on_url(self, url: bytes) -> None:
        """Take (a part of) the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; a promised body that is too long is refused before it is read."""
        self._header_bytes += len(name) + len(value) + 4
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text
        if self._header_bytes > MAX_HEADER_BYTES or len(self._headers) > MAX_HEADERS:
            self._stop(431, _header_too_large())
        elif key == "content-length" and text.isdecimal() and int(text) > self._settings.max_body_bytes:
            self._stop(413, self._body_too_large(int(text)))

    def on_headers_complete(self) -> None:
        """The header is whole; the body begins."""
        self._in_body = True
        if self._headers.get("expect", "").lower() == "100-continue" and self._task is None and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._body += data
        if len(self._body) > self._settings.max_body_bytes:
            self._stop(413, self._body_too_large(len(self._body)))

    def on_message_complete(self) -> None:
        """The request is whole: answer it, or let it wait its turn."""
        method = self._parser.get_method().decode("ascii")
        keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        request = HttpRequest(method, path_of(self._url), self._headers, bytes(self._body), self._ip, keep_alive)
        self._reset()
        self._pending.append(request)
        if self._task is None and not self._is_blocked:
            self._next()
        elif self._transport is not None:
            self._transport.pause_reading()

    # answering

    def _next(self) -> None:
        self.deadline = float("inf")
        self._task = self._loop.create_task(self._answer(self._pending.popleft()))

    async def _answer(self, request: HttpRequest) -> None:
        response = await self._server.handler(request)
        self._task = None
        if self._transport is None:
            return
        keep_alive = request.keep_alive and not self._server.is_draining
        self._transport.write(render(response, keep_alive=keep_alive, with_body=request.method != "HEAD"))
        if not keep_alive:
            self._close()
        elif not self._is_blocked:
            self._go_on()

    def _go_on(self) -> None:
        if self._pending:
            self._next()
        elif self._refusal is not None:
            self._refuse(*self._refusal)
        elif self._transport is not None:
            self._transport.resume_reading()
            self._allow(self._settings.read_timeout_s if self._is_arriving else self._settings.idle_timeout_s)

    def close_when_idle(self) -> None:
        """Close now if nothing is under way; else when it is answered."""
        if self._task is None and self._transport is not None:
            self._close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def timed_out(self) -> None:
        """Cut a client that takes too long: to send a request, to read an answer, or to come back."""
        if self._is_blocked or self._refusal is not None or self._transport is None or self._transport.is_closing():
            self.abort()
        elif self._is_arriving and self._task is None:
            self._refuse(408, InvalidInputError("the request did not arrive whole in time", code="request_timeout"))
        elif self._task is None:
            self._close()

    def _refuse(self, status: int, error: PlatformError) -> None:
        """Answer *error* once everything before it is answered, and close."""
        self._refusal = (status, error)
        if self._task is not None or self._pending or self._transport is None or self._transport.is_closing():
            return
        response = self._server.refuse(error, self._headers)
        response.status = status
        self._transport.write(render(response, keep_alive=False))
        self._transport.write_eof()  # what the client still sends is read and dropped: closing now would reset the
        self._allow(LINGER_S)  # connection, and the client would never see why

    def _close(self) -> None:
        """Close when what was written is sent; a client that does not read it is cut."""
        if self._transport is not None:
            self._allow(self._settings.read_timeout_s)
            self._transport.close()

    def _stop(self, status: int, error: PlatformError) -> None:
        """Refuse from inside a callback of the parser, which stops at the exception."""
        self._refuse(status, error)
        raise error

    def _check_size(self) -> None:
        if self._in_body:
            limit = self._settings.max_body_bytes
            if self._wire_bytes > MAX_HEADER_BYTES + WIRE_BYTES_PER_BODY_BYTE * limit:
                self._refuse(413, self._body_too_large(limit))
        elif self._wire_bytes > MAX_HEADER_BYTES:
            self._refuse(431, _header_too_large())

    def _body_too_large(self, found: int) -> TooLargeError:
        limit = self._settings.max_body_bytes
        return TooLargeError(
            f"the body has {found:,} bytes or more, the limit is {limit:,}",
            code="body_too_large",
            hint="send fewer texts",
        )

    def _reset(self) -> None:
        self._url, self._body = b"", bytearray()
        self._headers: dict[str, str] = {}
        self._wire_bytes, self._header_bytes, self._in_body, self._is_arriving = 0, 0, False, False

    def _allow(self, seconds: float) -> None:
        self.deadline = self._loop.time() + seconds


def path_of(url: bytes) -> str:
    """Return the path of a request target, in any of its forms; it stays percent-encoded."""
    if not url.startswith(b"/"):
        try:
            url = httptools.parse_url(url).path or b"/"
        except httptools.HttpParserInvalidURLError:
            return ""
    return url.partition(b"?")[0].decode("latin-1")


def render(response: HttpResponse, *, keep_alive: bool, with_body: bool = True) -> bytes:
    """Return *response* as bytes on the wire."""
    head = (
        f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Unknown')}\r\n"
        f"Date: {_date(int(time()))}\r\n"
        f"Content-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\n"
    )
    lines = [f"{name}: {value}\r\n" for name, value in response.headers.items()]
    lines.append("\r\n" if keep_alive else "Connection: close\r\n\r\n")
    whole = (head + "".join(lines)).encode("latin-1", "replace")
    return whole + response.body if with_body else whole


_dates: dict[int, str] = {}


def _date(second: int) -> str:
    if second not in _dates:
        _dates.clear()
        _dates[second] = formatdate(second, usegmt=True)
    return _dates[second]


def _header_too_large() -> TooLargeError:
    return TooLargeError(
        f"the header is longer than {MAX_HEADER_BYTES:,} bytes or has more than {MAX_HEADERS} fields",
        code="header_too_large",
    )


def _malformed(message: str) -> InvalidInputError:
    return InvalidInputError(message, code="malformed_request")
