"""The control process: the management API, the console, and the loops that keep things as they should be."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any

import uvicorn

from hanlin.audit import Ledger, search, verify
from hanlin.auth import Keys
from hanlin.compose.access import PROBE_CREDENTIAL
from hanlin.compose.figures import Reports, list_base_replies
from hanlin.compose.parts import Home
from hanlin.console import create_console
from hanlin.control import (
    Changes,
    Deployments,
    GatewayLink,
    LiveWatch,
    Probes,
    Promotions,
    Reconciler,
    Registry,
    SeriesCollector,
    Services,
    create_app,
)
from hanlin.fleet import LocalFleet, inherited_listener
from hanlin.monitoring import AlertLoop, AlertRules, ChannelSecrets, Sampler, SeriesStore, WebhookSender
from hanlin.sdk import AsyncClient
from hanlin.store import Store
from hanlin.telemetry import CollectorRegistry, render_metrics
from hanlin.workflows import Scheduler, TaskQueue

logger = logging.getLogger(__name__)
ACKNOWLEDGE_S = 2.0


async def run(home: Home) -> None:
    """Serve the management API and the console, and keep the loops running until SIGTERM or SIGINT."""
    settings = home.settings.control
    listener = inherited_listener() or home.bind(settings)
    store = await asyncio.to_thread(home.open_store)
    with await asyncio.to_thread(home.open_ledger, "control") as ledger:
        parts = ControlParts(home, store, ledger)
        await parts.link.listen(home.layout.control_socket)
        app = parts.app(is_stopping=lambda: server.should_exit)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=2
        )
        server = _Server(config)
        async with _beside(parts.loops(), server):
            await server.serve(sockets=[listener])
        parts.close()
    store.close()


class _Server(uvicorn.Server):
    """A server that ends on SIGTERM and SIGINT by itself: uvicorn's way would end us before ledger and store close."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop serving on the first signal, and no more than that."""

        def stop() -> None:
            self.should_exit = True

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        yield


class ControlParts:
    """The parts of the control process, joined."""

    def __init__(self, home: Home, store: Store, ledger: Ledger) -> None:
        settings, layout = home.settings, home.layout
        self._home, self._store, self._ledger = home, store, ledger
        self._loop = asyncio.get_running_loop()
        addresses = json.loads(layout.state.read_text(encoding="utf-8")) if layout.state.is_file() else {}
        self._gateway_url = addresses.get("gateway", f"http://{settings.gateway.host}:{settings.gateway.port}")
        self._control_url = addresses.get("control", f"http://{settings.control.host}:{settings.control.port}")
        self._series = SeriesStore(layout.metrics)
        self._sampler = Sampler(self._series)
        self._secrets = ChannelSecrets(layout.secrets)
        self._changes = Changes(store, ledger)
        self._scheduler = Scheduler(store, queue := TaskQueue(store, lease_s=settings.worker.lease_s))
        self._queue = queue
        self.link = GatewayLink(on_report=self._sampler.observe)
        self._reconciler = Reconciler(
            store, home.artifacts(), self._changes, LocalFleet(layout.supervisor_socket), self.link
        )
        self._probe_client = AsyncClient(self._gateway_url, home.credential(PROBE_CREDENTIAL))
        self._probes = Probes(
            settings.probes,
            self.link,
            targets={"gateway": self._gateway_url, "control": self._control_url},
            gateway=self._probe_client,
            deployments=self._served,
        )
        self._watch = LiveWatch(store, self.link, self._reconciler, self._sampler, self._probes)
        self._registry = CollectorRegistry()
        self._registry.register(SeriesCollector(self._sampler))

    def app(self, *, is_stopping: Callable[[], bool]) -> Any:
        """Return the ASGI app: the management API, and the console at the root beside it."""
        home, store, changes = self._home, self._store, self._changes
        keys = home.ledger_keys()
        reports = Reports(store, self._series, self._probes, home.layout.ledger)
        app = create_app(
            Services(
                settings=home.settings,
                layout=home.layout,
                store=store,
                artifacts=home.artifacts(),
                keys=Keys(store, home.key_secret()),
                changes=changes,
                registry=Registry(store, changes),
                promotions=Promotions(store, changes),
                deployments=Deployments(store, changes),
                queue=self._queue,
                scheduler=self._scheduler,
                series=self._series,
                alerts=AlertRules(store, self._secrets, allowed=home.settings.alerts.webhook_hosts),
                watch=self._watch,
                bases=partial(list_base_replies, store),
                report=reports.build,
                search=lambda query, limit, after: search(
                    home.layout.ledger, query, keys=keys, reveal=True, limit=limit, after=after
                ),
                verify=lambda: verify(home.layout.ledger, keys),
                ledger_failed=lambda: self._ledger.is_failed,
                metrics=lambda: render_metrics(self._registry),
                publish_keys=self._publish_keys,
                is_stopping=is_stopping,
            )
        )
        app.mount("/", create_console(home.settings, gateway_url=self._gateway_url, control_url=self._control_url))
        return app

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return everything that runs beside the API."""
        settings = self._home.settings
        alerts = AlertLoop(
            self._store,
            WebhookSender(settings.alerts.webhook_hosts),
            self._secrets,
            lambda: self._sampler.values,
        )
        return [
            self._reconciler.run(settings.control.reconcile_s),
            self._watch.sample(),
            self._probes.run(),
            self._scheduler.run(),
            alerts.run(evaluate_s=settings.alerts.evaluate_s),
        ]

    def _publish_keys(self) -> None:
        """Called from the API's threads."""

        async def publish() -> None:
            revision = await self._reconciler.publish()
            if not await self.link.acknowledged(revision, ACKNOWLEDGE_S):
                logger.warning("a gateway has not taken the keys yet", extra={"revision": revision})

        with suppress(TimeoutError):  # a loop that has ended answers nobody
            asyncio.run_coroutine_threadsafe(publish(), self._loop).result(2 * ACKNOWLEDGE_S)

    def close(self) -> None:
        """Let go of what is open."""
        self.link.close()
        self._series.close()

    def _served(self) -> dict[str, str]:
        ready = {r.deployment: r.digest for r in self.link.replicas().values() if r.state == "ready"}
        return dict(ready)


@asynccontextmanager
async def _beside(loops: Sequence[Coroutine[Any, Any, None]], server: uvicorn.Server) -> AsyncIterator[None]:
    """Run *loops* beside *server*; when one of them ends, the process does, and the supervisor starts a fresh one."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            logger.critical("a loop of control ended", exc_info=task.exception())
            server.should_exit = True

    tasks = [asyncio.create_task(loop) for loop in loops]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
