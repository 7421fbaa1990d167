"""Probes: periodic checks of what serves, from the lease of a replica to a real prediction with a known answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from hanlin.control.link import GatewayLink
from hanlin.domain import PlatformError
from hanlin.sdk import AsyncClient
from hanlin.settings import ProbeSettings
from hanlin.wire.admin import ProbeReply

logger = logging.getLogger(__name__)
GOLDEN_TEXT = "健康检查：这段文字的答案应当始终相同。"
TOLERANCE = 0.02
LEASE_LIMIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Golden:
    """The answer to the golden text that a version gave first."""

    label: str
    score: float


class Probes:
    """Runs the checks and remembers their latest results."""

    def __init__(
        self,
        settings: ProbeSettings,
        link: GatewayLink,
        *,
        targets: Mapping[str, str],
        gateway: AsyncClient,
        deployments: Callable[[], Mapping[str, str]],
    ) -> None:
        self._settings, self._link, self._targets = settings, link, targets
        self._gateway, self._deployments = gateway, deployments
        self._results: dict[tuple[str, str], ProbeReply] = {}
        self._golden: dict[str, Golden] = {}
        self._counts: dict[str, tuple[int, int]] = {}

    def results(self) -> list[ProbeReply]:
        """Return the latest result of every check."""
        return [self._results[key] for key in sorted(self._results)]

    def uptime(self, target: str) -> tuple[int, int]:
        """Return how often the deep probe of a deployment was tried since the start, and how often it went well."""
        return self._counts.get(target, (0, 0))

    async def run(self) -> None:
        """Check until cancelled."""
        await asyncio.gather(
            self._every(self._settings.ping_s, self.ping),
            self._every(self._settings.http_s, self.http),
            self._every(self._settings.deep_s, self.deep),
        )

    async def ping(self) -> None:
        """Look at the lease of every replica that should answer."""
        replicas = {id_: r for id_, r in self._link.replicas().items() if r.state == "ready"}
        for id_, replica in replicas.items():
            late = replica.lease_age_s > LEASE_LIMIT_S
            self._note("ping", id_, f"no sign of life for {replica.lease_age_s:.1f} s" if late else "")
        for key in [key for key in self._results if key[0] == "ping" and key[1] not in replicas]:
            del self._results[key]

    async def http(self) -> None:
        """Ask each process whether it is ready."""
        async with httpx.AsyncClient(timeout=3.0, trust_env=False) as client:
            for name, url in self._targets.items():
                begun = time.perf_counter()
                try:
                    response = await client.get(f"{url}/readyz")
                    problem = "" if response.status_code == 200 else f"/readyz answered {response.status_code}"
                except httpx.TransportError as error:
                    problem = f"no answer: {error}"
                self._note("http", name, problem, (time.perf_counter() - begun) * 1000)

    async def deep(self) -> None:
        """Send the golden text to every deployment through the real path and compare the answer."""
        for name, digest in self._deployments().items():
            begun = time.perf_counter()
            try:
                reply = await self._gateway.classify(name, GOLDEN_TEXT, user="probe", truncate=True)
            except PlatformError as error:
                self._note("deep", name, str(error), (time.perf_counter() - begun) * 1000)
                continue
            took_ms = (time.perf_counter() - begun) * 1000
            found = Golden(reply["data"][0]["label"], reply["data"][0]["score"])
            golden = self._golden.setdefault(digest, found) if reply["digest"] == digest else found
            is_same = found.label == golden.label and abs(found.score - golden.score) <= TOLERANCE
            self._note("deep", name, "" if is_same else f"answered {found}, expected {golden}", took_ms)

    async def _every(self, seconds: float, check: Callable[[], Awaitable[None]]) -> None:
        while True:
            await check()
            await asyncio.sleep(seconds)

    def _note(self, probe: str, target: str, problem: str, latency_ms: float | None = None) -> None:
        was = self._results.get((probe, target))
        failures = (was.failures if was else 0) + 1 if problem else 0
        result = ProbeReply(
            probe=probe,
            target=target,
            is_healthy=failures < self._settings.failures,
            failures=failures,
            checked_at=datetime.now(UTC),
            latency_ms=latency_ms,
            message=problem,
        )
        if was is not None and was.is_healthy != result.is_healthy:
            logger.warning("probe changed", extra={"probe": probe, "target": target, "problem": problem})
        self._results[probe, target] = result
        if probe == "deep":
            tried, well = self._counts.get(target, (0, 0))
            self._counts[target] = (tried + 1, well + (not problem))
