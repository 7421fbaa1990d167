"""A gateway as control sees it: it takes snapshots and reports what the test tells it to."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fleet.waiting import until

from hanlin.control import GatewayLink
from hanlin.wire import (
    DeploymentReport,
    FrameStream,
    GatewayReport,
    HistogramReport,
    LedgerReport,
    ReplicaReport,
    Snapshot,
)

EMPTY = HistogramReport([], 0.0)


@dataclass
class ScriptedGateway:
    """One connection to control."""

    name: str = "gateway-0"
    replicas: dict[str, ReplicaReport] = field(default_factory=dict)
    queued: dict[str, int] = field(default_factory=dict)
    snapshots: list[Snapshot] = field(default_factory=list)

    async def dial(self, path: Path) -> None:
        """Connect, and take snapshots from then on."""
        reader, writer = await asyncio.open_unix_connection(str(path))
        self._stream: FrameStream[Snapshot] = FrameStream(reader, writer, Snapshot)
        self._taking = asyncio.create_task(self._take())

    async def report(self, revision: int | None = None) -> None:
        """Say how everything is; the revision is the newest that came, unless another is given."""
        newest = self.snapshots[-1].revision if self.snapshots else 0
        await self._stream.send(
            GatewayReport(
                gateway=self.name,
                started_at=0.0,
                at=time.time(),
                revision=newest if revision is None else revision,
                replicas=list(self.replicas.values()),
                deployments=[
                    DeploymentReport(name, queued, 0, {}, 0, 0, EMPTY, EMPTY, EMPTY)
                    for name, queued in self.queued.items()
                ],
                ledger=LedgerReport(writer=self.name, size=1, root="", failed=False),
                memory_bytes=1,
            )
        )

    def sees(self, replica: str, state: str = "ready", **changes: Any) -> None:
        """Have a replica in the reports from now on."""
        fields = {
            "id": replica, "deployment": "reviews", "version": 1, "digest": "", "release": 1, "state": state,
            "pid": 1, "in_flight": 0, "start_s": 0.1, "memory_bytes": 1, "lease_age_s": 0.1, "served": 0, "error": "",
        }  # fmt: skip
        self.replicas[replica] = ReplicaReport(**{**fields, **changes})

    async def close(self) -> None:
        """Go away."""
        self._stream.close()
        self._taking.cancel()
        await asyncio.gather(self._taking, return_exceptions=True)

    async def _take(self) -> None:
        while (snapshot := await self._stream.receive()) is not None:
            self.snapshots.append(snapshot)


async def let_go(link: GatewayLink) -> None:
    """Close control's end and wait until nobody is served any more."""
    link.close()
    await until(lambda: not link._streams)
