"""The gateway process, put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from hanlin.audit import Entry, Receipt
from hanlin.domain import PlatformError
from hanlin.engines import TextEncoder
from hanlin.gateway.access import Access
from hanlin.gateway.app import App, render_error
from hanlin.gateway.figures import FiguresCollector
from hanlin.gateway.http import Connections
from hanlin.gateway.hub import Hub
from hanlin.gateway.lanes import Lane
from hanlin.gateway.link import ControlLink, keep_snapshot, load_snapshot
from hanlin.gateway.predict import Predict
from hanlin.settings import GatewaySettings
from hanlin.telemetry import SECONDS_BOUNDS, CollectorRegistry, memory_bytes, render_metrics
from hanlin.wire import DeploymentReport, GatewayReport, LedgerReport, Route, Snapshot

logger = logging.getLogger(__name__)
EXPIRE_S = 0.25


class GatewayLedger(Protocol):
    """What a gateway needs of its log."""

    async def append(self, entry: Entry) -> Receipt:
        """Return when *entry* is durable."""

    def state(self) -> LedgerReport:
        """Say how the log is."""


class Gateway:
    """One gateway: lanes, replicas, callers, and the port they come through."""

    def __init__(
        self,
        *,
        name: str,
        settings: GatewaySettings,
        snapshot_path: Path,
        gateway_socket: Path,
        control_socket: Path,
        key_secret: bytes,
        join_token: str,
        ledger: GatewayLedger,
    ) -> None:
        self._name, self._settings, self._snapshot_path = name, settings, snapshot_path
        self._gateway_socket, self._ledger = gateway_socket, ledger
        self._access = Access(key_secret)
        self._predict = Predict(self._access, ledger, max_texts=settings.max_texts)
        self._registry = CollectorRegistry()
        self._registry.register(FiguresCollector(self._deployments, SECONDS_BOUNDS))
        self._app = App(
            self._predict,
            self._access,
            is_ready=self._unreadiness,
            render_metrics=lambda: render_metrics(self._registry),
        )
        self._link = ControlLink(control_socket, apply=self.apply, report=self.report)
        self._hub = Hub(join_token, on_change=self._link.report_soon)
        self._lanes: dict[str, Lane] = {}
        self._encoders: dict[str, TextEncoder] = {}
        self._snapshot: Snapshot | None = None
        self._started_at = time.time()
        self._connections = Connections(self._app, lambda error, _: render_error(error, ""), settings)
        self._predict.lanes = self._app.lanes = self._hub.lanes = self._lanes
        self._predict.encoders = self._encoders

    async def run(self, listener: socket.socket, stopping: asyncio.Event, on_ready: Callable[[], None]) -> None:
        """Serve *listener* until *stopping* is set, then drain."""
        loop = asyncio.get_running_loop()
        if (snapshot := load_snapshot(self._snapshot_path)) is not None:
            await self.apply(snapshot, is_new=False)
        await self._hub.listen(self._gateway_socket)
        server = await loop.create_server(self._connections, sock=listener, backlog=2048)
        tasks = [asyncio.create_task(self._link.run()), asyncio.create_task(self._expire())]
        on_ready()
        await stopping.wait()
        server.close()
        await self._connections.drain()
        self._hub.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def apply(self, snapshot: Snapshot, *, is_new: bool = True) -> None:
        """
        Put *snapshot* into force: encoders of new versions are loaded first, so that no request waits for them.

        A route whose model folder cannot be read is left as it was. Idempotent.
        """
        for route in snapshot.routes:
            if await self._can_encode(route):
                self._follow(route)
        for gone in self._lanes.keys() - {route.deployment for route in snapshot.routes}:
            del self._lanes[gone]
        self._access.replace({grant.id: grant for grant in snapshot.keys})
        self._snapshot = snapshot
        for unused in self._encoders.keys() - {lane.route.digest for lane in self._lanes.values()}:
            del self._encoders[unused]
        if is_new:
            await asyncio.to_thread(keep_snapshot, self._snapshot_path, snapshot)

    async def _can_encode(self, route: Route) -> bool:
        if route.digest not in self._encoders:
            try:
                self._encoders[route.digest] = await asyncio.to_thread(TextEncoder, Path(route.folder))
            except PlatformError:
                logger.exception("route not usable", extra={"deployment": route.deployment})
                return False
        return True

    def _follow(self, route: Route) -> None:
        lane = self._lanes.get(route.deployment)
        if lane is None:
            lane = self._lanes[route.deployment] = Lane(route)
            self._seat(lane)
        lane.follow(route)

    def report(self) -> GatewayReport:
        """Describe the gateway for control."""
        return GatewayReport(
            gateway=self._name,
            started_at=self._started_at,
            at=time.time(),
            revision=self._snapshot.revision if self._snapshot else 0,
            replicas=self._hub.reports(),
            deployments=list(self._deployments()),
            ledger=self._ledger.state(),
            memory_bytes=memory_bytes(),
        )

    def _deployments(self) -> list[DeploymentReport]:
        return [
            lane.figures.report(name, queued=len(lane.waiting), in_flight=lane.in_flight)
            for name, lane in self._lanes.items()
        ]

    def _seat(self, lane: Lane) -> None:
        for connection in self._hub.replicas.values():
            if connection.hello and connection.hello.deployment == lane.route.deployment:
                connection.join(lane)

    def _unreadiness(self) -> str:
        if self._snapshot is None:
            return "no snapshot has come from control yet"
        return "the ledger does not take records" if self._ledger.state().failed else ""

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_S)
            with contextlib.suppress(ConnectionError):
                self._hub.expire()
