"""
A replica: one engine in one process, at the service of a gateway.

It dials the gateway, says who it is, loads the model, says that it is ready, and from then on answers batches and
renews its lease. When the gateway goes away it dials again; the model stays loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hanlin.domain import ForbiddenError, PlatformError
from hanlin.engines.engine import Engine, create_engine
from hanlin.telemetry import memory_bytes
from hanlin.wire import (
    Batch,
    BatchFailed,
    Failed,
    FrameStream,
    Hello,
    Lease,
    Leaving,
    Ready,
    Refused,
    Result,
    ToReplica,
)

logger = logging.getLogger(__name__)
LEASE_S = 0.5
LONGEST_PAUSE_S = 2.0
DRAIN_S = 10.0
Stream = FrameStream["Batch | Refused"]


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


class ReplicaServer:
    """Runs one plan until it is stopped or refused."""

    def __init__(self, plan: ReplicaPlan, *, started_at: float) -> None:
        self._plan, self._started_at = plan, started_at
        self._engine: Engine = create_engine(plan.engine)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._load: asyncio.Future[float] | None = None
        self._stopping = asyncio.Event()
        self._under_way, self._served = 0, 0

    def stop(self) -> None:
        """Finish what is under way, then leave. May be called again."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve; return when stopped. Raises ForbiddenError when the gateway refuses this replica for good."""
        pause = 0.05
        while not self._stopping.is_set():
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._plan.gateway_socket))
            except OSError:
                await self._wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
                continue
            pause = 0.05
            stream: Stream = FrameStream(reader, writer, ToReplica)
            with contextlib.suppress(ConnectionError):
                await self._serve(stream)
            stream.close()
        self._thread.shutdown(wait=True)
        self._engine.unload()

    async def _serve(self, stream: Stream) -> None:
        plan = self._plan
        await stream.send(
            Hello(
                token=plan.token,
                replica=plan.replica,
                deployment=plan.deployment,
                version=plan.version,
                digest=plan.digest,
                release=plan.release,
                pid=os.getpid(),
            )
        )
        beating = asyncio.create_task(self._beat(stream))
        listening = asyncio.create_task(self._listen(stream))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            if await self._announce(stream):
                await asyncio.wait({listening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set() and not listening.done():
                await self._drain(stream)
            if listening.done():
                listening.result()
        finally:
            for task in (beating, listening, stopping):
                task.cancel()
            await asyncio.gather(beating, listening, stopping, return_exceptions=True)

    async def _announce(self, stream: Stream) -> bool:
        loop = asyncio.get_running_loop()
        if self._load is None:
            self._load = loop.run_in_executor(self._thread, self._load_engine)
        try:
            start_s = await asyncio.shield(self._load)
        except PlatformError as error:
            await stream.send(Failed(code=error.code, error=str(error)))
            self.stop()
            return False
        await stream.send(Ready(start_s=start_s, memory_bytes=memory_bytes()))
        return True

    def _load_engine(self) -> float:
        self._engine.load(self._plan.folder, threads=self._plan.threads, device=self._plan.device)
        return time.time() - self._started_at

    async def _listen(self, stream: Stream) -> None:
        answering: set[asyncio.Task[None]] = set()
        while (message := await stream.receive()) is not None:
            if isinstance(message, Refused):
                self.stop()
                raise ForbiddenError(f"the gateway refused this replica: {message.reason}", code="replica_refused")
            task = asyncio.create_task(self._answer(stream, message))
            answering.add(task)
            task.add_done_callback(answering.discard)

    async def _answer(self, stream: Stream, batch: Batch) -> None:
        self._under_way += 1
        try:
            reply = await asyncio.get_running_loop().run_in_executor(self._thread, self._judge, batch)
            self._served += len(batch.rows)
            with contextlib.suppress(ConnectionError):
                await stream.send(reply)
        finally:
            self._under_way -= 1

    def _judge(self, batch: Batch) -> Result | BatchFailed:
        begun = time.perf_counter()
        try:
            logits = self._engine.run(batch.rows)
        except PlatformError as error:
            return BatchFailed(id=batch.id, code=error.code, error=str(error))
        spent = time.perf_counter() - begun
        return Result(id=batch.id, labels=logits.shape[1], logits=logits.tobytes(), compute_s=spent)

    async def _beat(self, stream: Stream) -> None:
        while True:
            await asyncio.sleep(LEASE_S)
            await stream.send(Lease(memory_bytes=memory_bytes(), served=self._served))

    async def _drain(self, stream: Stream) -> None:
        await stream.send(Leaving())
        deadline = time.monotonic() + DRAIN_S
        quiet = 0
        while time.monotonic() < deadline and quiet < 3:  # batches that crossed with Leaving are answered too
            await asyncio.sleep(0.05)
            quiet = quiet + 1 if self._under_way == 0 else 0

    async def _wait(self, pause: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause)
