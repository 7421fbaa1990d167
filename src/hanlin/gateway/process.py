"""The gateway process, put together."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from hanlin.audit import Entry, Receipt
from hanlin.domain import PlatformError
from hanlin.gateway.access import Access
from hanlin.gateway.answers import render_error
from hanlin.gateway.app import App
from hanlin.gateway.catalog import Catalog
from hanlin.gateway.figures import ReportCollector
from hanlin.gateway.http import Connections, HttpResponse
from hanlin.gateway.hub import Hub
from hanlin.gateway.link import ControlLink, keep_snapshot, load_snapshot
from hanlin.gateway.predict import Predict
from hanlin.settings import GatewaySettings
from hanlin.telemetry import CollectorRegistry, memory_bytes, render_metrics
from hanlin.wire import GatewayReport, LedgerReport, Snapshot

logger = logging.getLogger(__name__)
WATCH_S = 0.25


class GatewayLedger(Protocol):
    """What a gateway needs of its log."""

    async def append(self, entry: Entry) -> Receipt:
        """Return when *entry* is durable."""

    def state(self) -> LedgerReport:
        """Say how the log is."""


class Gateway:
    """One gateway: deployments, replicas, callers, and the port they come through."""

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
        self._name, self._snapshot_path, self._gateway_socket = name, snapshot_path, gateway_socket
        self._ledger, self._settings = ledger, settings
        self._snapshot: Snapshot | None = None
        self._started_at = time.time()
        self._is_stopping = False
        self._access = Access(key_secret)
        self._catalog = Catalog()
        self._link = ControlLink(control_socket, apply=self.apply, report=self.report)
        self._hub = Hub(join_token, self._catalog, on_change=self._link.report_soon)

    async def run(self, listener: socket.socket, stopping: asyncio.Event, on_ready: Callable[[], None]) -> None:
        """Serve *listener* until *stopping* is set, then drain: what was accepted is answered before this returns."""
        loop = asyncio.get_running_loop()
        if (snapshot := load_snapshot(self._snapshot_path)) is not None:
            await self.apply(snapshot, is_new=False)
        await self._hub.listen(self._gateway_socket)
        connections = Connections(self._app(), _refuse, self._settings)
        server = await loop.create_server(connections, sock=listener, backlog=2048)
        tasks = [asyncio.create_task(self._link.run()), asyncio.create_task(self._watch())]
        on_ready()
        await stopping.wait()
        self._is_stopping = True
        server.close()
        await connections.drain()
        self._hub.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def apply(self, snapshot: Snapshot, *, is_new: bool = True) -> None:
        """Put *snapshot* into force: keys at once, routes as soon as their tokenizers are loaded. Idempotent."""
        self._access.replace(snapshot.keys)
        await self._catalog.follow(snapshot.routes, self._hub.ready)
        self._snapshot = snapshot
        if is_new:
            await asyncio.to_thread(keep_snapshot, self._snapshot_path, snapshot)

    def report(self) -> GatewayReport:
        """Describe the gateway for control."""
        return GatewayReport(
            gateway=self._name,
            started_at=self._started_at,
            at=time.time(),
            revision=self._snapshot.revision if self._snapshot else 0,
            replicas=self._hub.reports(),
            deployments=self._catalog.reports(),
            ledger=self._ledger.state(),
            memory_bytes=memory_bytes(),
        )

    def _app(self) -> App:
        registry = CollectorRegistry()
        registry.register(ReportCollector(self.report))
        current = self._catalog.current
        return App(
            Predict(self._access, self._ledger, current, max_texts=self._settings.max_texts),
            self._access,
            current,
            troubles={"/livez": str, "/startupz": self._startup_trouble, "/readyz": self._trouble},
            render_metrics=lambda: render_metrics(registry),
        )

    def _startup_trouble(self) -> str:
        return "" if self._snapshot is not None else "no snapshot has come from control yet"

    def _trouble(self) -> str:
        if self._is_stopping:
            return "the gateway is stopping"
        if self._ledger.state().failed:
            return "the ledger does not take records"
        return self._startup_trouble()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            self._hub.expire()
            self._catalog.prune()


async def run_gateway(gateway: Gateway, listener: socket.socket, on_ready: Callable[[], None] = lambda: None) -> None:
    """Run *gateway* on *listener* until SIGTERM or SIGINT asks it to leave; it drains first."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await gateway.run(listener, stopping, on_ready)


def _refuse(error: PlatformError, headers: Mapping[str, str]) -> HttpResponse:
    return render_error(error, headers.get("accept-language", ""))
