"""What is known about what runs, gathered from link, reconciler, sampler and probes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from hanlin.control.link import GatewayLink
from hanlin.control.probes import Probes
from hanlin.control.reconcile import Reconciler
from hanlin.domain import DeploymentName, Replica
from hanlin.monitoring import Sampler, SeriesKey, host_values
from hanlin.store import Store
from hanlin.wire.admin import ProbeReply

SAMPLE_S = 1.0


class LiveWatch:
    """The watch of a running control process."""

    def __init__(
        self, store: Store, link: GatewayLink, reconciler: Reconciler, sampler: Sampler, probes: Probes
    ) -> None:
        self._store, self._link, self._reconciler = store, link, reconciler
        self._sampler, self._probes = sampler, probes

    def replicas(self, deployment: DeploymentName) -> Sequence[Replica]:
        """Return the replicas of a deployment as last observed."""
        return self._reconciler.replicas(deployment)

    def trouble(self, deployment: DeploymentName) -> str:
        """Return why a deployment is not as wanted, or an empty text."""
        return self._reconciler.trouble(deployment)

    def figures(self, subject: str) -> Mapping[str, float]:
        """Return the latest value of each series of *subject*."""
        return self._sampler.figures(subject)

    def gateway(self) -> Mapping[str, Any]:
        """Return what the gateways last reported of themselves."""
        reports = self._link.gateways()
        return {
            "gateways": len(reports),
            "revision": max((report.revision for report in reports), default=0),
            "memory_bytes": sum(report.memory_bytes for report in reports),
            "ledger_size": sum(report.ledger.size for report in reports),
            "ledger_failed": any(report.ledger.failed for report in reports),
        }

    def probes(self) -> Sequence[ProbeReply]:
        """Return the latest results of the periodic checks."""
        return self._probes.results()

    async def sample(self) -> None:
        """Turn what is known into series, once a second, until cancelled."""
        while True:
            wanted = await asyncio.to_thread(self._wanted)
            restarts = {
                SeriesKey("replica_restarts", name): float(count) for name, count in self._reconciler.restarts.items()
            }
            self._sampler.tick(wanted, {**restarts, **host_values()})
            await asyncio.sleep(SAMPLE_S)

    def _wanted(self) -> dict[str, int]:
        return {deployment.name: deployment.wanted_replicas for deployment in self._store.deployments.iter()}
