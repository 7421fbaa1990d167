"""A replica process as its gateway sees it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import pytest
from tests.tiny_model import POISON, build_servable

from hanlin.compose import Home
from hanlin.domain import Digest
from hanlin.engines import TextEncoder
from hanlin.store import ArtifactStore
from hanlin.wire import (
    Batch,
    BatchFailed,
    Failed,
    FrameStream,
    FromReplica,
    Hello,
    Lease,
    Leaving,
    Ready,
    Refused,
    Result,
    unix_listener,
)

ROOT = Path(__file__).parents[2]
M = TypeVar("M")


@dataclass
class Gateway:
    """The gateway's end of the protocol, and the replica processes that dial it."""

    path: Path
    calls: asyncio.Queue[FrameStream[FromReplica]] = field(default_factory=asyncio.Queue)
    streams: list[FrameStream[FromReplica]] = field(default_factory=list)
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)
    server: asyncio.Server | None = None

    async def open(self) -> Self:
        """Listen."""
        self.server = await asyncio.start_unix_server(self._take, sock=unix_listener(self.path))
        return self

    def die(self) -> None:
        """Go away as a killed process does: listener and connections at once."""
        if self.server is not None:
            self.server.close()
        for stream in self.streams:
            stream.close()
        self.streams.clear()

    async def close(self) -> None:
        """End everything that was started."""
        self.die()
        for process in self.processes:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream: FrameStream[FromReplica] = FrameStream(reader, writer, FromReplica)
        self.streams.append(stream)
        self.calls.put_nowait(stream)

    async def replica(self, folder: Path, **changes: Any) -> asyncio.subprocess.Process:
        """Start a replica of the model in *folder*."""
        plan = {
            "gateway_socket": str(self.path), "token": "t", "replica": "r1", "deployment": "d", "version": 3,
            "digest": "sha256:3", "release": 7, "folder": str(folder), **changes,
        }  # fmt: skip
        return await self.run(str(ROOT / "tests" / "replica_program.py"), json.dumps(plan))

    async def run(self, *arguments: str) -> asyncio.subprocess.Process:
        """Run Python with *arguments*."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, env=environment, stderr=asyncio.subprocess.PIPE
        )
        self.processes.append(process)
        return process

    async def call(self) -> tuple[FrameStream[FromReplica], Hello]:
        """Wait until a replica dials in and has said who it is."""
        stream = await asyncio.wait_for(self.calls.get(), 15)
        return stream, await hear(stream, Hello)


async def hear(stream: FrameStream[FromReplica], kind: type[M]) -> M:
    """Return the next message of *kind*; fail when the replica closes before it."""
    async with asyncio.timeout(15):
        while (message := await stream.receive()) is not None:
            if isinstance(message, kind):
                return message
    raise AssertionError(f"the replica left without {kind.__name__}")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway that listens."""
    gateway = await Gateway(tmp_path / "g.sock").open()
    yield gateway
    await gateway.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model."""
    return build_servable(tmp_path_factory.mktemp("replica") / "model")


class TestReplica:
    async def test_says_who_it_is_then_serves(self, gateway: Gateway, folder: Path) -> None:
        """Hello, ready, then an answer per batch in order, and leases that count what was served."""
        process = await gateway.replica(folder)
        stream, hello = await gateway.call()
        ready = await hear(stream, Ready)
        rows = TextEncoder(folder).encode(["好", "坏"])

        await stream.send(Batch(id=1, rows=rows))
        await stream.send(Batch(id=2, rows=rows[:1]))
        first, second = await hear(stream, Result), await hear(stream, Result)
        lease = await hear(stream, Lease)

        assert hello == Hello("t", "r1", "d", 3, "sha256:3", 7, process.pid)
        assert 0 < ready.start_s < 15
        assert ready.memory_bytes > 1_000_000
        assert (first.id, first.labels, second.id) == (1, 2, 2)
        logits = np.frombuffer(first.logits, dtype="<f4").reshape(2, 2)
        assert logits.argmax(axis=1).tolist() == [1, 0]
        assert first.compute_s > 0
        assert lease.served == 3

    async def test_survives_a_batch_it_cannot_judge(self, gateway: Gateway, folder: Path) -> None:
        """The batch fails with the engine's code; the next one is answered."""
        await gateway.replica(folder)
        stream, _ = await gateway.call()
        await hear(stream, Ready)

        await stream.send(Batch(id=1, rows=TextEncoder(folder).encode([POISON])))
        failed = await hear(stream, BatchFailed)
        await stream.send(Batch(id=2, rows=[[2, 3]]))

        assert (failed.id, failed.code) == (1, "engine_output_invalid")
        assert (await hear(stream, Result)).id == 2

    async def test_finishes_what_it_has_when_asked_to_leave(self, gateway: Gateway, tmp_path: Path) -> None:
        """On SIGTERM it says so, answers what was sent before the gateway heard it, and exits well."""
        slow = build_servable(tmp_path / "slow", dim=256, layers=8)
        process = await gateway.replica(slow)
        stream, _ = await gateway.call()
        await hear(stream, Ready)
        for number in range(20):
            await stream.send(Batch(id=number, rows=[[2, *[5] * 60, 3]] * 8))

        process.send_signal(signal.SIGTERM)
        answered: list[int] = []
        is_leaving = False
        async with asyncio.timeout(15):
            while len(answered) < 20 or not is_leaving:
                message = await stream.receive()
                assert message is not None
                if isinstance(message, Result):
                    answered.append(message.id)
                is_leaving = is_leaving or isinstance(message, Leaving)
        stream.close()

        assert answered == list(range(20))
        assert await asyncio.wait_for(process.wait(), 10) == 0

    async def test_gives_up_when_refused(self, gateway: Gateway, folder: Path) -> None:
        """A replica whose token is wrong ends with the reason; dialling again would be no use."""
        process = await gateway.replica(folder)
        stream, _ = await gateway.call()
        await stream.send(Refused(reason="the join token is wrong"))
        stream.close()

        _, errors = await asyncio.wait_for(process.communicate(), 15)

        assert process.returncode != 0
        assert b"the join token is wrong" in errors

    async def test_comes_back_to_the_next_gateway(self, gateway: Gateway, folder: Path) -> None:
        """When the gateway dies the replica keeps its model and dials until there is another."""
        process = await gateway.replica(folder)
        stream, _ = await gateway.call()
        ready = await hear(stream, Ready)

        gateway.die()
        await gateway.open()
        stream, hello = await gateway.call()
        again = await hear(stream, Ready)
        await stream.send(Batch(id=1, rows=[[2, 3]]))

        assert (hello.pid, again.start_s) == (process.pid, ready.start_s)  # the same process, loaded once
        assert (await hear(stream, Result)).id == 1

    async def test_says_why_it_cannot_load(self, gateway: Gateway, tmp_path: Path) -> None:
        """The gateway, and through it the operator, hears what is wrong with the model."""
        (build_servable(tmp_path / "broken") / "model.onnx").write_bytes(b"no model")
        process = await gateway.replica(tmp_path / "broken")
        stream, _ = await gateway.call()

        failed = await hear(stream, Failed)

        assert failed.code == "servable_invalid"
        assert "model.onnx" in failed.error
        await asyncio.wait_for(process.communicate(), 15)
        assert process.returncode != 0

    async def test_refuses_weights_that_were_touched(self, gateway: Gateway, tmp_path: Path, folder: Path) -> None:
        """A replica of a platform reads its artifact again: one flipped bit, and it serves nothing."""
        home = Home.at(tmp_path / "data")
        gateway.die()
        gateway.path = home.layout.gateway_socket
        await gateway.open()
        digest = ArtifactStore(home.layout.artifacts).put(folder)
        await gateway.run(*_platform_replica(home, digest))
        stream, _ = await gateway.call()
        await hear(stream, Ready)

        weights = home.artifacts().path(digest) / "model.onnx"
        body = bytearray(weights.read_bytes())
        body[-20] ^= 1
        weights.write_bytes(body)
        await gateway.run(*_platform_replica(home, digest))
        stream, _ = await gateway.call()

        assert (await hear(stream, Failed)).code == "artifact_corrupt"


def _platform_replica(home: Home, digest: Digest) -> list[str]:
    placement = {
        "id": "r1", "deployment": "d", "version": 1, "digest": digest, "release": 1,
        "folder": str(home.artifacts().path(digest)), "engine": "onnx", "threads": 1, "device": "cpu",
    }  # fmt: skip
    return ["-m", "hanlin.compose", "replica", "--data", str(home.layout.root), "--placement", json.dumps(placement)]
