"""`hanlin up`: everything on one machine under one supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

import httpx

from hanlin.compose.access import CLI_CREDENTIAL, issue_token, renew_own_keys
from hanlin.compose.lifetime import stopping_on_signal
from hanlin.compose.parts import Home
from hanlin.compose.replica import argv_of
from hanlin.domain import UnavailableError
from hanlin.fleet import FleetServer, FolderLock, ProcessSpec, Supervisor

START_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A platform that is up: where it answers, the key of the command line, and a one-time token at the first start."""

    gateway: str
    control: str
    pid: int
    token: str = ""
    key: str = ""

    def addresses(self) -> dict[str, object]:
        """Return what may be written down."""
        return {name: value for name, value in asdict(self).items() if name not in {"token", "key"}}


async def run_platform(home: Home, while_up: Callable[[Running, asyncio.Event], Awaitable[None]]) -> None:
    """
    Start everything, call *while_up* once all is ready, and stop everything when it returns.

    The event that *while_up* gets is set by SIGINT and SIGTERM. Raises ConflictError (``already_running``,
    ``port_taken``) or InvalidInputError (``address_needs_tls``) before anything has started.
    """
    layout, settings = home.layout, home.settings
    lock = FolderLock(layout.lock)
    lock.acquire()
    gateway = home.bind(settings.gateway)
    control = home.bind(settings.control)
    running = _prepare(home, gateway, control)
    stopping = stopping_on_signal()
    supervisor = Supervisor(layout.logs)
    fleet = FleetServer(supervisor, lambda placement: argv_of(layout.root, placement))
    await fleet.listen(layout.supervisor_socket)
    try:
        supervisor.ensure(_process(home, "control", control))
        supervisor.ensure(_process(home, "gateway", gateway))
        supervisor.ensure(_process(home, "worker", None))
        await _wait_until_ready(running, stopping)
        await while_up(running, stopping)
    finally:
        fleet.close()
        for name in ("worker", "control", "gateway"):
            await supervisor.stop(name)
        await supervisor.stop_all()
        layout.state.unlink(missing_ok=True)
        for listener in (gateway, control):
            listener.close()
        lock.release()


def _prepare(home: Home, gateway: socket.socket, control: socket.socket) -> Running:
    """Bring the store up to date, make the platform's own keys, and write down the addresses."""
    home.key_secret()
    home.join_token()
    store = home.open_store()
    is_first = not store.keys.list(limit=1).items
    renew_own_keys(home, store)
    running = Running(
        gateway=_url(gateway),
        control=_url(control),
        pid=os.getpid(),
        token=issue_token(home, store) if is_first else "",
        key=home.credential(CLI_CREDENTIAL),
    )
    store.close()
    home.layout.state.write_text(json.dumps(running.addresses()), encoding="utf-8")
    return running


def _process(home: Home, role: str, listener: socket.socket | None) -> ProcessSpec:
    argv = [sys.executable, "-m", "hanlin.compose", role, "--data", str(home.layout.root)]
    return ProcessSpec(name=role, argv=argv, listener=listener)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _wait_until_ready(running: Running, stopping: asyncio.Event) -> None:
    deadline = time.monotonic() + START_S
    async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
        waiting = [running.control, running.gateway]
        while waiting and not stopping.is_set():
            if await _is_ready(client, waiting[0]):
                waiting.pop(0)
            elif time.monotonic() > deadline:
                raise UnavailableError(
                    f"{waiting[0]} did not become ready in {START_S:.0f} s",
                    code="start_timed_out",
                    hint="the logs in the data folder say why",
                )
            else:
                await asyncio.sleep(0.05)


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/readyz")).status_code == 200
    except httpx.TransportError:
        return False
