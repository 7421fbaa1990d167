"""The local fleet driver: replicas as processes of this machine's supervisor, asked for over a Unix socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from hanlin.domain import InvalidInputError, UnavailableError
from hanlin.fleet.supervisor import ProcessSpec, Supervisor
from hanlin.wire import FrameStream, Message, unix_listener

logger = logging.getLogger(__name__)
PREFIX = "replica-"


class ReplicaPlacement(msgspec.Struct, frozen=True):
    """A replica that is to run: who it is and what it serves."""

    id: str
    deployment: str
    version: int
    digest: str
    release: int
    folder: str
    engine: str
    threads: int
    device: str


class ReplicaProcess(msgspec.Struct, frozen=True):
    """A replica's process as the driver sees it."""

    placement: ReplicaPlacement
    pid: int
    restarts: int
    last_exit: int | None
    is_failing: bool


class Ensure(Message, frozen=True):
    """Have this replica run."""

    placement: ReplicaPlacement


class Stop(Message, frozen=True):
    """End this replica."""

    replica: str


class Look(Message, frozen=True):
    """Say which replicas there are."""


class Fleet(Message, frozen=True):
    """All replicas of the driver, in answer to everything."""

    replicas: list[ReplicaProcess]


class FleetServer:
    """The supervisor's side: runs placements as processes."""

    def __init__(self, supervisor: Supervisor, argv: Callable[[ReplicaPlacement], Sequence[str]]) -> None:
        self._supervisor, self._argv = supervisor, argv
        self._placements: dict[str, ReplicaPlacement] = {}
        self._server: asyncio.Server | None = None
        self._stopping: set[asyncio.Task[None]] = set()

    async def listen(self, path: Path) -> None:
        """Take requests on the Unix socket at *path*."""
        self._server = await asyncio.start_unix_server(self._serve, sock=unix_listener(path))

    def close(self) -> None:
        """Take no more requests."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream: FrameStream[Ensure | Stop | Look] = FrameStream(reader, writer, Ensure | Stop | Look)
        try:
            while (message := await stream.receive()) is not None:
                self._handle(message)
                await stream.send(self._fleet())
        except ConnectionError:
            return
        except InvalidInputError as error:
            logger.warning("request not understood", extra={"error": str(error)})
        finally:
            stream.close()

    def _handle(self, message: Ensure | Stop | Look) -> None:
        if isinstance(message, Ensure):
            placement = message.placement
            self._placements[placement.id] = placement
            self._supervisor.ensure(ProcessSpec(name=PREFIX + placement.id, argv=self._argv(placement)))
        elif isinstance(message, Stop) and message.replica in self._placements:
            del self._placements[message.replica]
            task = asyncio.create_task(self._supervisor.stop(PREFIX + message.replica))
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    def _fleet(self) -> Fleet:
        statuses = {status.name: status for status in self._supervisor.list()}
        pairs = [(placement, statuses.get(PREFIX + placement.id)) for placement in self._placements.values()]
        replicas = [
            ReplicaProcess(placement, status.pid, status.restarts, status.last_exit, status.is_failing)
            for placement, status in pairs
            if status is not None
        ]
        return Fleet(replicas=replicas)


class LocalFleet:
    """Control's side: the fleet driver that asks the supervisor of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: FrameStream[Fleet] | None = None
        self._lock = asyncio.Lock()

    async def ensure(self, placement: ReplicaPlacement) -> list[ReplicaProcess]:
        """Have *placement* run; return all replicas. Idempotent."""
        return await self._ask(Ensure(placement=placement))

    async def stop(self, replica: str) -> list[ReplicaProcess]:
        """End a replica (it drains first); return the others. Idempotent."""
        return await self._ask(Stop(replica=replica))

    async def look(self) -> list[ReplicaProcess]:
        """Return all replicas of this machine; raise UnavailableError when the supervisor does not answer."""
        return await self._ask(Look())

    def close(self) -> None:
        """Hang up; the next request dials again. Idempotent."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    async def _ask(self, message: Message) -> list[ReplicaProcess]:
        async with self._lock:
            try:
                if self._stream is None:
                    reader, writer = await asyncio.open_unix_connection(str(self._path))
                    self._stream = FrameStream(reader, writer, Fleet)
                await self._stream.send(message)
                reply = await self._stream.receive()
            except OSError as error:
                self.close()
                raise UnavailableError(f"the supervisor does not answer: {error}", code="fleet_unavailable") from error
            except BaseException:  # given up half way: the answer that is still to come is not the next request's
                self.close()
                raise
            if reply is None:
                self.close()
                raise UnavailableError("the supervisor closed the connection", code="fleet_unavailable")
            return reply.replicas
