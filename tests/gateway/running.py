"""A gateway that runs in the test's own event loop, with replicas as real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from hanlin.audit import Entry, Receipt
from hanlin.auth import hash_key
from hanlin.domain import LedgerUnavailableError
from hanlin.gateway import Gateway
from hanlin.settings import GatewaySettings
from hanlin.wire import KeyGrant, LedgerReport, ReplicaReport, Route, Snapshot

ROOT = Path(__file__).parents[2]
SECRET = b"s" * 32
TOKEN = "join-token-of-the-test"
KEY = "hl_abcdefgh_" + "k" * 43
DIGEST = "sha256:" + "1" * 64


class MemoryLedger:
    """A ledger that keeps entries in a list, and fails when told to."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.is_failing = False

    async def append(self, entry: Entry) -> Receipt:
        """Keep *entry*."""
        if self.is_failing:
            raise LedgerUnavailableError("the ledger does not take records")
        self.entries.append(entry)
        return Receipt("gateway", len(self.entries) - 1, "")

    def state(self) -> LedgerReport:
        """Say how the ledger is."""
        return LedgerReport(writer="gateway", size=len(self.entries), root="", failed=self.is_failing)


def grant(key: str = KEY, **changes: Any) -> KeyGrant:
    """Return a grant for *key* that may predict with everything, but for *changes*."""
    fields: dict[str, Any] = {
        "id": key.split("_")[1],
        "hash": hash_key(SECRET, key),
        "principal": "tester",
        "workspace": "default",
        "roles": ["caller"],
        "deployments": ["*"],
    }
    return KeyGrant(**{**fields, **changes})


def route(folder: Path, **changes: Any) -> Route:
    """Return a route to the model in *folder*, but for *changes*."""
    fields: dict[str, Any] = {
        "deployment": "reviews",
        "workspace": "default",
        "model": "reviews",
        "version": 1,
        "digest": DIGEST,
        "folder": str(folder),
        "max_batch_tokens": 512,
        "queue_limit": 512,
        "queue_deadline_ms": 5000,
        "release": 1,
    }
    return Route(**{**fields, **changes})


@dataclass
class RunningGateway:
    """One gateway on a free port; everything it started ends with it."""

    folder: Path
    settings: GatewaySettings = field(default_factory=lambda: GatewaySettings(port=0, drain_s=2))
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    replicas: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    revision: int = 0
    port: int = 0

    async def __aenter__(self) -> Self:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        await self.start()
        headers = {"Authorization": f"Bearer {KEY}"}
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=20)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()
        await self.stop()
        for process in self.replicas.values():
            process.kill()
            process.wait()
        self.listener.close()

    async def start(self) -> None:
        """Start (another) gateway on the listener."""
        self.gateway = Gateway(
            name="gateway",
            settings=self.settings,
            snapshot_path=self.folder / "snapshot.json",
            gateway_socket=self.folder / "gateway.sock",
            control_socket=self.folder / "control.sock",
            key_secret=SECRET,
            join_token=TOKEN,
            ledger=self.ledger,
        )
        self._stopping, ready = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self.gateway.run(self.listener.dup(), self._stopping, ready.set))
        await ready.wait()

    async def stop(self) -> None:
        """Stop the gateway as SIGTERM does."""
        self._stopping.set()
        await self._task

    async def publish(self, routes: Sequence[Route], keys: Sequence[KeyGrant] | None = None) -> None:
        """Put a snapshot into force, as control does."""
        self.revision += 1
        grants = list(keys) if keys is not None else [grant()]
        await self.gateway.apply(
            Snapshot(revision=self.revision, created_at=float(self.revision), routes=list(routes), keys=grants)
        )

    def spawn(self, name: str, folder: Path, **changes: object) -> subprocess.Popen[bytes]:
        """Start a replica process of the model in *folder*."""
        plan: dict[str, object] = {
            "gateway_socket": str(self.folder / "gateway.sock"),
            "token": TOKEN,
            "replica": name,
            "deployment": "reviews",
            "version": 1,
            "digest": DIGEST,
            "release": 1,
            "folder": str(folder),
            **changes,
        }
        program = Path(__file__).parents[1] / "replica_program.py"
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        process = subprocess.Popen([sys.executable, str(program), json.dumps(plan)], env=environment)
        self.replicas[name] = process
        return process

    def report_of(self, name: str) -> ReplicaReport | None:
        """Return what the gateway reports of a replica."""
        return next((report for report in self.gateway.report().replicas if report.id == name), None)

    def state_of(self, name: str) -> str:
        """Return the state of a replica, or an empty text."""
        report = self.report_of(name)
        return report.state if report else ""

    async def serve(self, folder: Path, *names: str) -> None:
        """Publish the model in *folder* and have replicas of these names ready."""
        await self.publish([route(folder)])
        for name in names:
            self.spawn(name, folder)
        await until(lambda: all(self.state_of(name) == "ready" for name in names))

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a replica."""
        self.replicas[name].send_signal(number)

    async def classify(self, text: object, model: str = "reviews", **more: object) -> httpx.Response:
        """Ask for a judgement."""
        headers = more.pop("headers", None)
        body = {"model": model, "input": text, **more}
        return await self.client.post("/v1/classify", json=body, headers=headers)  # type: ignore[arg-type]


async def until(is_true: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for a condition, looking every few milliseconds; fail when it does not come."""
    async with asyncio.timeout(seconds):
        while not is_true():
            await asyncio.sleep(0.005)
