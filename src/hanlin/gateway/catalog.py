"""
The catalog: which deployments there are, as the latest snapshot says, and the lane of each version.

A deployment has one current lane and, while a new version takes over, old ones on their way out: what was queued for
them finishes on their replicas, or starts over on the current one when those are gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from hanlin.domain import PlatformError
from hanlin.engines import TextEncoder
from hanlin.gateway.figures import Figures
from hanlin.gateway.hub import ReplicaConnection
from hanlin.gateway.lanes import Lane
from hanlin.wire import DeploymentReport, Route

logger = logging.getLogger(__name__)
Ready = Callable[[str, str], Iterable[ReplicaConnection]]


class Catalog:
    """Deployments by name, and lanes by deployment and digest."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._current: dict[str, Lane] = {}

    @property
    def current(self) -> Mapping[str, Lane]:
        """The lane that new requests go to, by deployment."""
        return self._current

    def lane_of(self, deployment: str, digest: str) -> Lane | None:
        """Return the queue of one version of a deployment, current or on its way out."""
        return self._lanes.get((deployment, digest))

    async def follow(self, routes: Sequence[Route], ready: Ready) -> None:
        """
        Make *routes* the current ones, each as a whole and without a pause; *ready* finds the replicas of a version.

        The tokenizer of a new version is loaded before its route switches. A route whose model folder cannot be read
        is left as it was, and the log says why. Idempotent.
        """
        for route in routes:
            try:
                lane = await self._ensure_lane(route)
            except PlatformError as error:
                logger.warning("route not usable", extra={"deployment": route.deployment, "error": str(error)})
                continue
            lane.route = route
            self._switch(route.deployment, lane)
            for replica in ready(route.deployment, route.digest):
                replica.take_seat(lane)
        for name in self._current.keys() - {route.deployment for route in routes}:
            self._retire(self._current.pop(name))
        self.prune()

    def prune(self) -> None:
        """Forget lanes that are over."""
        for key in [key for key, lane in self._lanes.items() if lane.is_over()]:
            del self._lanes[key]

    def reports(self) -> list[DeploymentReport]:
        """Describe what was done for each deployment."""
        return [
            current.figures.report(
                name,
                queued=sum(lane.queued for lane in self._lanes.values() if lane.route.deployment == name),
                in_flight=sum(lane.in_flight for lane in self._lanes.values() if lane.route.deployment == name),
            )
            for name, current in self._current.items()
        ]

    async def _ensure_lane(self, route: Route) -> Lane:
        key = (route.deployment, route.digest)
        if key not in self._lanes:
            encoder = await self._encoder(route)
            before = self._current.get(route.deployment)
            self._lanes[key] = Lane(route, encoder, before.figures if before else Figures())
        return self._lanes[key]

    async def _encoder(self, route: Route) -> TextEncoder:
        for lane in self._lanes.values():
            if lane.route.digest == route.digest:
                return lane.encoder
        return await asyncio.to_thread(TextEncoder, Path(route.folder))

    def _switch(self, deployment: str, lane: Lane) -> None:
        before = self._current.get(deployment)
        lane.is_retired = False
        self._current[deployment] = lane
        if before is not None and before is not lane:
            logger.info("route switched", extra={"deployment": deployment, "version": lane.route.version})
            self._retire(before)

    @staticmethod
    def _retire(lane: Lane) -> None:
        lane.is_retired = True
        lane.dispatch()
