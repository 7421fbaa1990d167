"""
A replica: one engine in one process, at the service of a gateway.

It dials the gateway, says who it is, loads the model, says that it is ready, and from then on answers batches and
renews its lease. When the gateway goes away it dials again; the model stays loaded.

    event loop     dial ─► Hello ─► (load) ─► Ready ─► Lease, Lease, Lease … ─► Leaving
    worker thread                    load  ─► read batch ─► run ─► answer ─► read batch …

The worker reads and writes the socket itself: a batch that waits there is begun the moment the one before is answered,
without a detour through the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanlin.domain import ForbiddenError, InternalError, PlatformError
from hanlin.engines.engine import Engine, create_engine
from hanlin.telemetry import memory_bytes, process_age_s
from hanlin.wire import (
    Batch,
    BatchFailed,
    Failed,
    FrameDecoder,
    Hello,
    Lease,
    Leaving,
    Message,
    Ready,
    Refused,
    Result,
    ToReplica,
    encode_frame,
)

logger = logging.getLogger(__name__)
LEASE_S = 0.5
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
DRAIN_S = 10.0
READ_BYTES = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaPlan:
    """Who a replica is and what it serves."""

    gateway_socket: Path
    token: str
    replica: str
    deployment: str
    version: int
    digest: str
    release: int
    folder: Path
    engine: str = "onnx"
    threads: int = 1
    device: str = "cpu"


async def run_replica(plan: ReplicaPlan) -> None:
    """
    Run the replica of this process until SIGTERM or SIGINT asks it to leave; it finishes what it has first.

    Raises ForbiddenError when the gateway refuses it for good, and the engine's error when the model cannot be loaded.
    """
    server = ReplicaServer(plan)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.run()


class ReplicaServer:
    """Runs one plan until it is stopped or refused."""

    def __init__(
        self, plan: ReplicaPlan, *, started_at: float | None = None, verify: Callable[[], None] = lambda: None
    ) -> None:
        """Prepare to serve *plan*; *verify* raises when the folder does not hold what the digest promises."""
        self._plan, self._verify = plan, verify
        self._started_at = time.time() - process_age_s() if started_at is None else started_at
        self._engine: Engine = create_engine(plan.engine)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._loading: asyncio.Future[float] | None = None
        self._stopping = asyncio.Event()
        self._served = 0

    def stop(self) -> None:
        """Finish what is under way, then leave. May be called again."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve; return when stopped. Raises ForbiddenError when refused, and the engine's error if it cannot load."""
        self._loading = asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        pause = FIRST_PAUSE_S
        try:
            while not self._stopping.is_set():
                link = await asyncio.to_thread(Link.dial, self._plan.gateway_socket)
                if link is not None:
                    pause = FIRST_PAUSE_S
                    with contextlib.closing(link), contextlib.suppress(OSError):
                        await self._serve(link)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
        finally:
            self._thread.shutdown(wait=True)
            self._engine.unload()

    async def _serve(self, link: Link) -> None:
        """Serve one gateway until it goes away or this replica is stopped."""
        plan = self._plan
        link.send(
            Hello(plan.token, plan.replica, plan.deployment, plan.version, plan.digest, plan.release, os.getpid())
        )
        beating = asyncio.create_task(self._beat(link))
        stopping = asyncio.create_task(self._stopping.wait())
        working: asyncio.Future[None] | None = None
        try:
            await self._announce(link)
            working = asyncio.get_running_loop().run_in_executor(self._thread, self._work, link)
            waits: set[asyncio.Future[Any]] = {working, stopping}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():  # the gateway closes the connection once it has all its answers
                link.send(Leaving())
                await asyncio.wait({working}, timeout=DRAIN_S)
        finally:
            beating.cancel()
            stopping.cancel()
            link.close()
            await asyncio.gather(beating, stopping, return_exceptions=True)
            if working is not None:
                await working

    async def _announce(self, link: Link) -> None:
        assert self._loading is not None  # noqa: S101
        try:
            start_s = await asyncio.shield(self._loading)
        except PlatformError as error:
            link.send(Failed(code=error.code, error=str(error)))
            raise
        with contextlib.suppress(OSError):  # the worker will read why the gateway closed: it may have refused us
            link.send(Ready(start_s=start_s, memory_bytes=memory_bytes()))

    def _load(self) -> float:
        self._verify()
        self._engine.load(self._plan.folder, threads=self._plan.threads, device=self._plan.device)
        return time.time() - self._started_at

    async def _beat(self, link: Link) -> None:
        while True:
            await asyncio.sleep(LEASE_S)
            link.send(Lease(memory_bytes=memory_bytes(), served=self._served))

    def _work(self, link: Link) -> None:
        """Answer batches until the connection ends (worker thread); raise ForbiddenError when refused."""
        with contextlib.suppress(OSError):
            while (messages := link.receive()) is not None:
                for message in messages:
                    if isinstance(message, Refused):
                        raise ForbiddenError(
                            f"the gateway refused this replica: {message.reason}", code="replica_refused"
                        )
                    link.send(self._judge(message))

    def _judge(self, batch: Batch) -> Result | BatchFailed:
        begun = time.perf_counter()
        try:
            logits = self._engine.run(batch.rows)
        except InternalError as error:
            return BatchFailed(id=batch.id, code=error.code, error=error.message)
        spent = time.perf_counter() - begun
        self._served += len(batch.rows)
        return Result(id=batch.id, labels=logits.shape[1], logits=logits.tobytes(), compute_s=spent)


class Link:
    """A connection to a gateway, written to by the event loop (leases) and the worker (answers)."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self._lock = connection, threading.Lock()
        self._decoder: FrameDecoder[Batch | Refused] = FrameDecoder(ToReplica)

    @classmethod
    def dial(cls, path: Path) -> Link | None:
        """Return a connection, or None when nobody listens."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            return None
        return cls(connection)

    def send(self, message: Message) -> None:
        """Send *message*; raise OSError when the gateway is gone."""
        frame = encode_frame(message)
        with self._lock:
            self._socket.sendall(frame)

    def receive(self) -> list[Batch | Refused] | None:
        """Wait for messages and return them, or None when the gateway has closed the connection."""
        data = self._socket.recv(READ_BYTES)
        return self._decoder.feed(data) if data else None

    def close(self) -> None:
        """Close the connection; a worker that waits for messages sees its end. Idempotent."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
