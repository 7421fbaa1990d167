"""The hub: where replicas dial in, are checked, watched by their leases, and given batches."""

from __future__ import annotations

import asyncio
import hmac
import itertools
import logging
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hanlin.domain import InternalError, PlatformError, ReplicaState
from hanlin.gateway.lanes import Lane, Text
from hanlin.wire import (
    Batch,
    BatchFailed,
    Failed,
    FrameDecoder,
    FromReplica,
    Hello,
    Lease,
    Leaving,
    Ready,
    Refused,
    ReplicaReport,
    Result,
    encode_frame,
    unix_listener,
)

logger = logging.getLogger(__name__)
BATCHES_IN_FLIGHT = 2
LEASE_EXPIRY_S = 2.0


class Hub:
    """Knows every connected replica and which lane it serves."""

    def __init__(self, token: str, *, on_change: Callable[[], None]) -> None:
        self._token, self.on_change = token, on_change
        self.lanes: dict[str, Lane] = {}
        self.replicas: dict[str, ReplicaConnection] = {}
        self._server: asyncio.Server | None = None

    async def listen(self, path: Path) -> None:
        """Accept replicas on the Unix socket at *path*; a stale one of a dead gateway is removed."""
        listener = unix_listener(path)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: ReplicaConnection(self), sock=listener)

    def admit(self, connection: ReplicaConnection, hello: Hello) -> str:
        """Return why *hello* is refused, or an empty text when the replica is in."""
        if not hmac.compare_digest(hello.token.encode(), self._token.encode()):
            return "the join token is wrong"
        if hello.replica in self.replicas and self.replicas[hello.replica].hello.pid != hello.pid:  # type: ignore[union-attr]
            self.replicas[hello.replica].abort()
        self.replicas[hello.replica] = connection
        return ""

    def expire(self) -> None:
        """Cut replicas whose lease ran out; called regularly."""
        for connection in list(self.replicas.values()):
            if connection.lease_age_s() > LEASE_EXPIRY_S:
                logger.warning("replica lease expired", extra={"replica": connection.id})
                connection.abort()

    def reports(self) -> list[ReplicaReport]:
        """Describe every connected replica."""
        return [connection.report() for connection in self.replicas.values()]

    def close(self) -> None:
        """Stop listening and let go of all replicas; they dial the next gateway."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.replicas.values()):
            connection.abort()


class ReplicaConnection(asyncio.Protocol):
    """One replica: what it said of itself, and what it was given."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._decoder: FrameDecoder[FromReplica] = FrameDecoder(FromReplica)
        self._transport: asyncio.Transport | None = None
        self._batches: dict[int, list[Text]] = {}
        self._numbers = itertools.count(1)
        self._seen_at = time.monotonic()
        self.hello: Hello | None = None
        self.id, self.digest = "", ""
        self.state = ReplicaState.STARTING
        self.outstanding_tokens = 0
        self._start_s, self._memory_bytes, self._served, self._error = 0.0, 0, 0, ""

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the way back."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Handle what the replica says; nonsense ends the connection."""
        try:
            for message in self._decoder.feed(data):
                self._handle(message)
        except PlatformError as error:
            logger.warning("replica spoke nonsense", extra={"replica": self.id, "error": str(error)})
            self.abort()

    def connection_lost(self, _: Exception | None) -> None:
        """The replica is gone: what it had goes back to the front of the queue."""
        self._transport = None
        if self.hello is None or self._hub.replicas.get(self.id) is not self:
            return
        del self._hub.replicas[self.id]
        lane = self._hub.lanes.get(self.hello.deployment)
        texts = list(itertools.chain.from_iterable(self._batches.values()))
        self._batches.clear()
        if lane is not None:
            lane.seats.pop(self.id, None)
            lane.put_back(texts)
        logger.info("replica left", extra={"replica": self.id, "put_back": len(texts)})
        self._hub.on_change()

    # a lane's side

    def has_room(self) -> bool:
        """Whether another batch may be sent."""
        return self.state is ReplicaState.READY and len(self._batches) < BATCHES_IN_FLIGHT

    def send(self, texts: Sequence[Text]) -> None:
        """Send one batch."""
        number = next(self._numbers)
        self._batches[number] = list(texts)
        self.outstanding_tokens += sum(len(text.ids) for text in texts)
        if self._transport is not None:
            self._transport.write(encode_frame(Batch(id=number, rows=[text.ids for text in texts])))

    # the hub's side

    def lease_age_s(self) -> float:
        """Seconds since the replica was last heard of; one that loads its model is given time."""
        return 0.0 if self.state is ReplicaState.STARTING else time.monotonic() - self._seen_at

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def report(self) -> ReplicaReport:
        """Describe the replica."""
        hello = self.hello or Hello("", "", "", 0, "", 0, 0)
        return ReplicaReport(
            id=self.id,
            deployment=hello.deployment,
            version=hello.version,
            digest=hello.digest,
            release=hello.release,
            state=self.state.value,
            pid=hello.pid,
            in_flight=sum(map(len, self._batches.values())),
            start_s=self._start_s,
            memory_bytes=self._memory_bytes,
            lease_age_s=time.monotonic() - self._seen_at,
            served=self._served,
            error=self._error,
        )

    def join(self, lane: Lane) -> None:
        """Take a seat in *lane*."""
        lane.seats[self.id] = self
        lane.dispatch()

    def _handle(self, message: FromReplica) -> None:
        self._seen_at = time.monotonic()
        if isinstance(message, Hello):
            self._welcome(message)
        elif self.hello is None:
            self.abort()
        elif isinstance(message, Result | BatchFailed):
            self._answered(message)
        elif isinstance(message, Lease):
            self._memory_bytes, self._served = message.memory_bytes, message.served
        else:
            self._moved(message)

    def _welcome(self, hello: Hello) -> None:
        if reason := self._hub.admit(self, hello):
            if self._transport is not None:
                self._transport.write(encode_frame(Refused(reason=reason)))
                self._transport.close()
            return
        self.hello, self.id, self.digest = hello, hello.replica, hello.digest
        self._hub.on_change()

    def _moved(self, message: Ready | Failed | Leaving) -> None:
        assert self.hello is not None  # noqa: S101
        lane = self._hub.lanes.get(self.hello.deployment)
        if isinstance(message, Ready):
            self.state = ReplicaState.READY
            self._start_s, self._memory_bytes = message.start_s, message.memory_bytes
            if lane is not None:
                self.join(lane)
        else:
            self.state = ReplicaState.DRAINING if isinstance(message, Leaving) else ReplicaState.FAILED
            self._error = message.error if isinstance(message, Failed) else ""
            if lane is not None:
                lane.seats.pop(self.id, None)
                lane.dispatch()
        logger.info("replica moved", extra={"replica": self.id, "state": self.state.value, "error": self._error})
        self._hub.on_change()

    def _answered(self, message: Result | BatchFailed) -> None:
        assert self.hello is not None  # noqa: S101
        texts = self._batches.pop(message.id, None)
        lane = self._hub.lanes.get(self.hello.deployment)
        if texts is None or lane is None:
            return
        self.outstanding_tokens -= sum(len(text.ids) for text in texts)
        if isinstance(message, Result):
            numbers = struct.unpack(f"<{len(texts) * message.labels}f", message.logits)
            rows = [list(numbers[i : i + message.labels]) for i in range(0, len(numbers), message.labels)]
            self._served += len(texts)
            lane.settle(texts, rows, message.compute_s)
        else:
            lane.fail(texts, InternalError(message.error, code=message.code))
        lane.dispatch()
