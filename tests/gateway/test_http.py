from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from hanlin.domain import PlatformError
from hanlin.gateway.http import Connections, HttpRequest, HttpResponse, path_of
from hanlin.settings import GatewaySettings

OK = b"HTTP/1.1 200"
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Server:
    """An HTTP front whose handler answers each request with its own body, when it is let."""

    settings: GatewaySettings
    port: int = 0
    seen: list[HttpRequest] = field(default_factory=list)
    cancelled: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer once the gate is open."""
        self.seen.append(request)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return HttpResponse(200, request.body or request.path.encode())

    def refuse(self, error: PlatformError, _: object) -> HttpResponse:
        """Answer with the error's code."""
        return HttpResponse(error.status, error.code.encode())


@asynccontextmanager
async def serving(*, is_open: bool = True, **settings: Any) -> AsyncIterator[tuple[Server, Connections]]:
    """Run a front with these settings."""
    server = Server(GatewaySettings(**settings))
    if is_open:
        server.gate.set()
    connections = Connections(server.handle, server.refuse, server.settings)
    listening = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server, connections
    finally:
        server.gate.set()
        listening.close()
        await connections.drain()


async def talk(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Send pieces, then read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause_s)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


def post(body: bytes, *headers: str, path: str = "/x") -> bytes:
    """Return a request."""
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


LAST = "Connection: close"


class TestRequests:
    async def test_keep_their_order_when_pipelined(self) -> None:
        """Many requests in one packet are answered one by one, in order, on one connection."""
        async with serving() as (server, _):
            answer = await talk(server.port, b"".join(post(b"%d;" % i) for i in range(50)) + post(b"end", LAST))

        bodies = [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(OK)[1:]]
        assert bodies == [b"%d;" % i for i in range(50)] + [b"end"]

    async def test_arrive_however_they_are_cut(self) -> None:
        """A request one byte at a time is the same request."""
        request = post(b"body", LAST, "X-Two: 1", "X-Two: 2", path="/p?q=1")
        async with serving() as (server, _):
            answer = await talk(server.port, *[request[i : i + 1] for i in range(len(request))])

        assert answer.endswith(b"body")
        assert server.seen[0].path == "/p"
        assert server.seen[0].headers["x-two"] == "1, 2"

    async def test_come_in_chunks_too(self) -> None:
        """A chunked body is put together."""
        head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        async with serving() as (server, _):
            answer = await talk(server.port, head, b"3\r\nabc\r\n", b"2;x=y\r\nde\r\n0\r\n\r\n")

        assert answer.endswith(b"abcde")

    async def test_are_told_to_go_on(self) -> None:
        """Expect: 100-continue is answered before the body comes."""
        async with serving() as (server, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 100")
            writer.write(b"ok")

            assert (await reader.read()).endswith(b"ok")
            writer.close()

    async def test_of_old_clients_are_answered(self) -> None:
        """HTTP/1.0 gets its answer and the connection's end; HEAD gets no body; an upgrade is not taken up."""
        async with serving() as (server, _):
            old = await talk(server.port, b"GET /a HTTP/1.0\r\n\r\n")
            head = await talk(server.port, b"HEAD /abc HTTP/1.1\r\nConnection: close\r\n\r\n")
            upgrade = await talk(server.port, b"GET /u HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")

        assert old.endswith(b"/a")
        assert head.endswith(b"\r\n\r\n")
        assert b"Content-Length: 4" in head
        assert upgrade.startswith(OK)
        assert b"Connection: close" in upgrade

    @pytest.mark.parametrize(
        ("url", "path"),
        [(b"/a?b", "/a"), (b"http://h/a?b", "/a"), (b"*", "*"), (b"h:80", "/"), (b"/%2e%2e/a", "/%2e%2e/a")],
    )
    def test_have_a_path_in_every_form(self, url: bytes, path: str) -> None:
        """Percent-encoding stays: nobody decodes twice what nobody decodes once."""
        assert path_of(url) in {path, ""}


class TestLimits:
    @pytest.mark.parametrize(
        ("request_", "status"),
        [
            (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000, 431),
            (b"GET / HTTP/1.1\r\nA: " + b"b" * 40_000, 431),
            (b"GET /" + b"a" * 40_000, 431),
            (b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % i for i in range(102)), 431),
            (post(b"x" * 3000), 413),
            (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
            (CHUNKED + b"400\r\n" + b"x" * 1024 + b"\r\n400\r\n" + b"x" * 1024, 413),
            (CHUNKED + b"1;" + b"x" * 90_000, 413),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
            (b"GET / HTTP/9.9\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00", 400),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ],
    )  # fmt: skip
    async def test_are_told_and_the_connection_closed(self, request_: bytes, status: int) -> None:
        """What is too large or no HTTP is refused with its status, before it fills any memory."""
        async with serving(max_body_bytes=1024) as (server, _):
            answer = await talk(server.port, request_)

        assert answer.startswith(b"HTTP/1.1 %d" % status)
        assert b"Connection: close" in answer
        assert server.seen == []

    async def test_are_told_in_turn(self) -> None:
        """A broken request behind a good one is refused after the good one is answered, never in its place."""
        async with serving(is_open=False) as (server, _):
            asking = asyncio.create_task(talk(server.port, post(b"good") + b"nonsense\r\n\r\n"))
            await until_seen(server, 1)
            server.gate.set()
            answer = await asking

        assert [part[1:4] for part in answer.split(b"HTTP/1.1")[1:]] == [b"200", b"400"]

    async def test_hold_for_slow_senders(self) -> None:
        """Header and body have to arrive in time: 408, however regularly the bytes drip (slowloris)."""
        async with serving(read_timeout_s=0.3) as (server, _):
            dripping = [
                talk(server.port, b"G", b"E", b"T", b" ", b"/", *[b"a"] * 20, pause_s=0.05),
                talk(server.port, b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n", *[b"x"] * 12, pause_s=0.05),
            ]
            answers = await asyncio.gather(*dripping)

        assert [answer[9:12] for answer in answers] == [b"408", b"408"]

    async def test_hold_for_slow_readers(self) -> None:
        """A client that asks and asks but reads no answer is cut, and was read no further meanwhile."""
        async with serving(read_timeout_s=0.3, max_body_bytes=1_048_576) as (server, connections):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
            request = post(b"x" * 500_000)
            with pytest.raises((ConnectionError, TimeoutError)):
                await asyncio.wait_for(_ask_for_ever(writer, request), 10)
            seen = len(server.seen)
            writer.close()
            del reader
            while connections.open:
                await asyncio.sleep(0.01)

        assert seen < 40

    async def test_close_idle_connections(self) -> None:
        """A connection without a request ends after its time, silently; so does one that sends only line breaks."""
        async with serving(idle_timeout_s=0.2) as (server, _):
            assert await talk(server.port) == b""
            assert await talk(server.port, *[b"\r\n"] * 5, pause_s=0.05) == b""

    async def test_hold_for_connections(self) -> None:
        """One connection too many is turned away with 503."""
        async with serving(max_connections=2, is_open=False) as (server, _):
            two = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
            for _, writer in two:
                writer.write(post(b"x"))
            await until_seen(server, 2)

            answer = await talk(server.port)

            assert answer.startswith(b"HTTP/1.1 503")
            assert answer.endswith(b"too_many_connections")
            server.gate.set()
            for _, writer in two:
                writer.close()

    async def test_a_client_that_leaves_is_worked_for_no_longer(self) -> None:
        """When the connection goes, the handler is cancelled."""
        async with serving(is_open=False) as (server, _):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(post(b"x"))
            await until_seen(server, 1)
            writer.close()

            async with asyncio.timeout(5):
                while not server.cancelled:
                    await asyncio.sleep(0.005)


class TestDrain:
    async def test_answers_what_is_under_way(self) -> None:
        """Draining waits for requests under way, answers with Connection: close, and ends idle connections."""
        async with serving(is_open=False, drain_s=5) as (server, connections):
            idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", server.port)
            asking = asyncio.create_task(talk(server.port, post(b"last")))
            await until_seen(server, 1)
            draining = asyncio.create_task(connections.drain())
            assert await idle_reader.read() == b""

            server.gate.set()
            answer = await asking
            await draining
            idle_writer.close()

        assert answer.endswith(b"last")
        assert b"Connection: close" in answer

    async def test_does_not_wait_for_ever(self) -> None:
        """What is not answered within the drain time is cut."""
        async with serving(is_open=False, drain_s=0.2) as (server, connections):
            asking = asyncio.create_task(talk(server.port, post(b"x")))
            await until_seen(server, 1)
            await connections.drain()

            (answer,) = await asyncio.gather(asking, return_exceptions=True)
            assert answer == b"" or isinstance(answer, ConnectionError)


async def until_seen(server: Server, count: int) -> None:
    """Wait until the handler has that many requests."""
    async with asyncio.timeout(5):
        while len(server.seen) < count:
            await asyncio.sleep(0.005)


async def _ask_for_ever(writer: asyncio.StreamWriter, request: bytes) -> None:
    while True:
        writer.write(request)
        await writer.drain()
