"""A replica process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

from hanlin.compose.lifetime import stopping_on_signal
from hanlin.compose.parts import Home
from hanlin.domain import Digest, ForbiddenError
from hanlin.engines import ReplicaPlan, ReplicaServer
from hanlin.fleet import ReplicaPlacement


def argv_of(data: Path, placement: ReplicaPlacement) -> Sequence[str]:
    """Return the command line that runs *placement*."""
    body = msgspec.json.encode(placement).decode()
    return [sys.executable, "-m", "hanlin.compose", "replica", "--data", str(data), "--placement", body]


async def run(home: Home, placement: ReplicaPlacement) -> None:
    """Serve *placement* until SIGTERM or SIGINT, or until the gateway refuses it."""
    plan = ReplicaPlan(
        gateway_socket=home.layout.gateway_socket,
        token=home.join_token(),
        replica=placement.id,
        deployment=placement.deployment,
        version=placement.version,
        digest=placement.digest,
        release=placement.release,
        folder=Path(placement.folder),
        engine=placement.engine,
        threads=placement.threads,
        device=placement.device,
    )
    server = ReplicaServer(
        plan,
        started_at=psutil.Process().create_time(),
        verify=lambda: home.artifacts().verify(Digest(placement.digest)),
    )
    stopping = stopping_on_signal()
    watching = asyncio.create_task(stopping.wait())
    watching.add_done_callback(lambda _: server.stop())
    try:
        await server.run()
    except ForbiddenError as error:
        sys.exit(str(error))
    finally:
        watching.cancel()
