"""The hub: where replicas dial in, are checked, watched by their leases, and given batches."""

from __future__ import annotations

import asyncio
import hmac
import itertools
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, cast

from hanlin.domain import InternalError, PlatformError, ReplicaState
from hanlin.gateway.lanes import Lane, Text
from hanlin.gateway.routing import Load
from hanlin.wire import (
    Batch,
    BatchFailed,
    Failed,
    FrameDecoder,
    FromReplica,
    Hello,
    Lease,
    Leaving,
    Message,
    Ready,
    Refused,
    ReplicaReport,
    Result,
    encode_frame,
    unix_listener,
)

logger = logging.getLogger(__name__)
LEASE_EXPIRY_S = 2.0
START_EXPIRY_S = 30.0  # a replica that loads a large model may be busy for long between two renewals
REMEMBER_S = 5.0  # how long a replica that failed stays in the reports, so that control hears why


class Lanes(Protocol):
    """Where a replica finds its place."""

    def lane_of(self, deployment: str, digest: str) -> Lane | None:
        """Return the queue of a version, or None when no snapshot has spoken of it yet."""


class Hub:
    """Knows every connected replica and which lane it serves."""

    def __init__(self, token: str, lanes: Lanes, *, on_change: Callable[[], None]) -> None:
        self._token, self.lanes, self.on_change = token.encode(), lanes, on_change
        self.connections: set[ReplicaConnection] = set()
        self._replicas: dict[str, ReplicaConnection] = {}
        self._gone: dict[str, tuple[float, ReplicaReport]] = {}
        self._server: asyncio.Server | None = None

    async def listen(self, path: Path) -> None:
        """Accept replicas on the Unix socket at *path*; a stale one of a dead gateway is removed."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: ReplicaConnection(self, loop), sock=unix_listener(path))

    def admit(self, connection: ReplicaConnection, hello: Hello) -> str:
        """Return why *hello* is refused, or an empty text when the replica is in; an older connection of it is cut."""
        if not hmac.compare_digest(hello.token.encode(), self._token):
            return "the join token is wrong"
        older, self._replicas[hello.replica] = self._replicas.get(hello.replica), connection
        self._gone.pop(hello.replica, None)
        if older is not None:
            older.cut("it dialled again")
        return ""

    def left(self, connection: ReplicaConnection) -> None:
        """Forget a replica whose connection is closed; one that failed stays in the reports for a while."""
        self.connections.discard(connection)
        if self._replicas.get(connection.id) is not connection:
            return
        del self._replicas[connection.id]
        report = connection.report()
        if report.state == ReplicaState.FAILED:
            self._gone[report.id] = (asyncio.get_running_loop().time() + REMEMBER_S, report)
        self.on_change()

    def expire(self) -> None:
        """Cut replicas whose lease ran out; called regularly."""
        now = asyncio.get_running_loop().time()
        self._gone = {name: (until, report) for name, (until, report) in self._gone.items() if until > now}
        for connection in list(self.connections):
            if connection.lease_age_s() > connection.lease_s():
                connection.cut("its lease expired")

    def ready(self, deployment: str, digest: str) -> Iterable[ReplicaConnection]:
        """Return the ready replicas of a version."""
        return [one for one in self._replicas.values() if one.is_ready_for(deployment, digest)]

    def reports(self) -> list[ReplicaReport]:
        """Describe every replica that is connected, or failed a moment ago."""
        connected = [connection.report() for connection in self._replicas.values()]
        return connected + [report for _, report in self._gone.values()]

    def close(self) -> None:
        """Stop listening and let go of all replicas; they dial the next gateway."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.cut("the gateway stops")


class ReplicaConnection(asyncio.Protocol):
    """One replica: what it said of itself, and what it was given."""

    def __init__(self, hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        self._hub, self._loop = hub, loop
        self._decoder: FrameDecoder[FromReplica] = FrameDecoder(FromReplica)
        self._transport: asyncio.Transport | None = None
        self._batches: dict[int, Sequence[Text]] = {}
        self._numbers = itertools.count(1)
        self._seen_at = loop.time()
        self._hello = Hello("", "", "", 0, "", 0, 0)
        self._lane: Lane | None = None
        self._start_s, self._memory_bytes, self._served, self._error = 0.0, 0, 0, ""
        self.state = ReplicaState.STARTING
        self.id = ""
        self.load = Load()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the way back."""
        self._transport = cast("asyncio.Transport", transport)
        self._hub.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Handle what the replica says; nonsense ends the connection."""
        self._seen_at = self._loop.time()
        try:
            for message in self._decoder.feed(data):
                self._handle(message)
        except PlatformError as error:
            self.cut(f"it spoke nonsense: {error.message}")

    def connection_lost(self, _: Exception | None) -> None:
        """The replica is gone: what it had goes back to the front of the queue."""
        self._transport = None
        if self.state in {ReplicaState.STARTING, ReplicaState.READY}:
            self.state, self._error = ReplicaState.FAILED, self._error or "its connection was lost"
        lane, texts = self._lane, list(itertools.chain.from_iterable(self._batches.values()))
        logger.info("replica left", extra={"replica": self.id, "put_back": len(texts), "reason": self._error})
        self._batches.clear()
        self._leave_lane()
        if lane is not None and texts:
            lane.put_back(texts)
        self._hub.left(self)

    # a lane's side

    def send(self, texts: Sequence[Text]) -> None:
        """Send one batch."""
        number = next(self._numbers)
        self._batches[number] = texts
        self._count(texts, +1)
        self._say(Batch(id=number, rows=[text.ids for text in texts]))

    def take_seat(self, lane: Lane) -> None:
        """Serve *lane* from now on."""
        self._lane = lane
        lane.seats[self.id] = self
        lane.dispatch()

    # the hub's side

    def lease_age_s(self) -> float:
        """Return the seconds since the replica was last heard of."""
        return self._loop.time() - self._seen_at

    def lease_s(self) -> float:
        """Return the seconds after which its silence counts as death."""
        return START_EXPIRY_S if self.state is ReplicaState.STARTING and self.id else LEASE_EXPIRY_S

    def is_ready_for(self, deployment: str, digest: str) -> bool:
        """Whether batches of that version may be sent here."""
        return (self.state, self._hello.deployment, self._hello.digest) == (ReplicaState.READY, deployment, digest)

    def cut(self, reason: str) -> None:
        """Close the connection at once."""
        logger.warning("replica cut off", extra={"replica": self.id, "reason": reason})
        self._error = self._error or reason
        if self._transport is not None:
            self._transport.abort()

    def report(self) -> ReplicaReport:
        """Describe the replica."""
        hello = self._hello
        return ReplicaReport(
            id=self.id,
            deployment=hello.deployment,
            version=hello.version,
            digest=hello.digest,
            release=hello.release,
            state=self.state.value,
            pid=hello.pid,
            in_flight=self.load.texts,
            start_s=self._start_s,
            memory_bytes=self._memory_bytes,
            lease_age_s=self.lease_age_s(),
            served=self._served,
            error=self._error,
        )

    def _handle(self, message: FromReplica) -> None:
        if isinstance(message, Result | BatchFailed):
            self._answered(message)
        elif isinstance(message, Lease):
            self._memory_bytes, self._served = message.memory_bytes, message.served
        elif isinstance(message, Hello):
            self._welcome(message)
        elif self.id:
            self._moved(message)

    def _welcome(self, hello: Hello) -> None:
        if reason := self._hub.admit(self, hello):
            logger.warning("replica refused", extra={"replica": hello.replica, "reason": reason})
            self._say(Refused(reason=reason))
            if self._transport is not None:
                self._transport.close()
            return
        self._hello, self.id = hello, hello.replica
        self._hub.on_change()

    def _moved(self, message: Ready | Failed | Leaving) -> None:
        if isinstance(message, Ready):
            self.state = ReplicaState.READY
            self._start_s, self._memory_bytes = message.start_s, message.memory_bytes
            lane = self._hub.lanes.lane_of(self._hello.deployment, self._hello.digest)
            if lane is not None:
                self.take_seat(lane)
        else:
            self.state = ReplicaState.DRAINING if isinstance(message, Leaving) else ReplicaState.FAILED
            self._error = message.error if isinstance(message, Failed) else ""
            self._leave_lane()
            self._let_go()
        logger.info("replica moved", extra={"replica": self.id, "state": self.state.value, "error": self._error})
        self._hub.on_change()

    def _answered(self, message: Result | BatchFailed) -> None:
        texts, lane = self._batches.pop(message.id, None), self._lane
        if texts is None or lane is None:
            return
        self._count(texts, -1)
        self._served += len(texts)
        if isinstance(message, BatchFailed):
            lane.fail(texts, InternalError(message.error, code=message.code))
        elif (rows := _rows(message, len(texts), len(lane.encoder.info.labels))) is None:
            lane.fail(texts, InternalError("the replica's scores do not fit its model", code="engine_output_invalid"))
        else:
            lane.settle(texts, rows, message.compute_s)
        lane.dispatch()
        self._let_go()

    def _let_go(self) -> None:
        """Close the connection of a replica that leaves, once it has answered everything: its sign to exit."""
        if self.state is ReplicaState.DRAINING and not self._batches and self._transport is not None:
            self._transport.close()

    def _leave_lane(self) -> None:
        if self._lane is not None and self._lane.seats.get(self.id) is self:
            del self._lane.seats[self.id]
            self._lane.dispatch()

    def _count(self, texts: Sequence[Text], sign: int) -> None:
        self.load.batches += sign
        self.load.texts += sign * len(texts)
        self.load.tokens += sign * sum(len(text.ids) for text in texts)

    def _say(self, message: Message) -> None:
        if self._transport is not None:
            self._transport.write(encode_frame(message))


def _rows(result: Result, texts: int, labels: int) -> list[list[float]] | None:
    if result.labels != labels or len(result.logits) != texts * labels * 4:
        return None
    numbers: list[float] = list(memoryview(result.logits).cast("f"))
    return [numbers[start : start + labels] for start in range(0, len(numbers), labels)]
