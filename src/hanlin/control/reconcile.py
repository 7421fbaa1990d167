"""The reconciler: a quarter of a second at a time, what runs becomes what is wanted."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from hanlin.control.autoscale import Autoscaler, Demand
from hanlin.control.changes import Changes, Context
from hanlin.control.link import GatewayLink
from hanlin.control.planning import Drain, Start, Switch, Wanted, plan
from hanlin.domain import (
    Caller,
    Deployment,
    DeploymentName,
    Digest,
    KeyId,
    KeyKind,
    ModelVersion,
    PlatformError,
    PreconditionFailedError,
    Replica,
    ReplicaId,
    ReplicaState,
    new_id,
)
from hanlin.fleet import LocalFleet, ReplicaPlacement, ReplicaProcess
from hanlin.store import ArtifactStore, Store
from hanlin.wire import KeyGrant, ReplicaReport, Route, Snapshot

logger = logging.getLogger(__name__)
LEASE_S = 2.0  # of silence, after which a gateway gives a replica up
AUTOSCALER = Caller(principal="autoscaler", key_id=KeyId(""), roles=frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A deployment together with the version that it should serve."""

    deployment: Deployment
    version: ModelVersion
    generation: int


class Reconciler:
    """Loads what is wanted, decides with plan(), acts through the fleet, and publishes what gateways must know."""

    def __init__(
        self, store: Store, artifacts: ArtifactStore, changes: Changes, fleet: LocalFleet, link: GatewayLink
    ) -> None:
        self._store, self._artifacts, self._changes = store, artifacts, changes
        self._fleet, self._link, self._autoscaler = fleet, link, Autoscaler()
        self._replicas: dict[str, list[Replica]] = {}
        self._troubles: dict[str, str] = {}
        self._verified: set[Digest] = set()
        self._published: tuple[list[Route], list[KeyGrant]] | None = None
        self._draining: set[str] = set()
        self._errors: dict[str, str] = {}
        self._publishing = asyncio.Lock()
        self._revision = 0
        self.restarts: dict[str, int] = {}

    async def run(self, pause_s: float) -> None:
        """Reconcile until cancelled."""
        while True:
            try:
                await self.step()
            except Exception:
                logger.exception("reconciliation failed; trying again")
            await asyncio.sleep(pause_s)

    def replicas(self, deployment: DeploymentName) -> Sequence[Replica]:
        """Return the replicas of a deployment as last observed."""
        return self._replicas.get(deployment, [])

    def trouble(self, deployment: DeploymentName) -> str:
        """Return why a deployment is not as wanted, or an empty text."""
        return self._troubles.get(deployment, "")

    async def step(self) -> None:
        """Look once, act once. Every action is idempotent."""
        targets = await asyncio.to_thread(self._load)
        processes = await self._fleet.look()
        await self._end_hung(processes)
        self._observe(processes)
        for target in targets:
            self._troubles.pop(target.deployment.name, None)
            try:
                await self._scale(target)
                await self._act(target)
            except PlatformError as error:  # trouble of one deployment holds up no other
                self._troubles[target.deployment.name] = str(error)
        await self._remove_orphans(processes, {target.deployment.name for target in targets})
        await self.publish()

    async def publish(self) -> int:
        """Send gateways what they do not know yet of routes and keys; return the revision that has it all."""
        async with self._publishing:
            if (snapshot := await asyncio.to_thread(self._next_snapshot)) is not None:
                self._link.publish(snapshot)
            return self._revision

    # load

    def _load(self) -> list[Target]:
        targets = []
        for deployment in self._store.deployments.iter():
            alias = self._store.aliases.find(deployment.spec.model, deployment.spec.alias)
            if alias is not None:
                version = self._store.versions.get(deployment.spec.model, alias.version)
                targets.append(Target(deployment=deployment, version=version, generation=self._generation(deployment)))
        return targets

    def _generation(self, deployment: Deployment) -> int:
        """Return the oldest release from which on nothing changed that replicas are started with."""
        generation = deployment.release
        cursor = self._store.releases.list(deployment=deployment.name, newest_first=True, limit=100)
        for release in cursor.items:
            if release.spec.restarts_replicas(deployment.spec):
                break
            generation = release.number
        return generation

    def _observe(self, processes: Sequence[ReplicaProcess]) -> None:
        seen = self._link.replicas()
        self._replicas = {}
        self.restarts = {}
        for process in processes:
            placement, report = process.placement, seen.get(process.placement.id)
            state = ReplicaState(report.state) if report is not None else ReplicaState.STARTING
            if state is ReplicaState.FAILED:
                state = ReplicaState.STARTING  # its supervisor starts it again, later and later
            if placement.id in self._draining:
                state = ReplicaState.DRAINING
            self.restarts[placement.deployment] = self.restarts.get(placement.deployment, 0) + process.restarts
            replica = Replica(
                id=ReplicaId(placement.id),
                deployment=DeploymentName(placement.deployment),
                version=placement.version,
                digest=Digest(placement.digest),
                generation=placement.release,
                state=state,
                in_flight=report.in_flight if report else 0,
                start_s=report.start_s if report else 0.0,
                memory_bytes=report.memory_bytes if report else 0,
                served=report.served if report else 0,
                pid=process.pid,
                error=self._error_of(process, report),
            )
            self._replicas.setdefault(placement.deployment, []).append(replica)
        known = {process.placement.id for process in processes}
        self._draining &= known
        self._errors = {name: error for name, error in self._errors.items() if name in known}

    def _error_of(self, process: ReplicaProcess, report: ReplicaReport | None) -> str:
        """Return why a replica is not ready: what was last heard of it, until it is."""
        name = process.placement.id
        if report is not None and report.state == ReplicaState.READY:
            self._errors.pop(name, None)
        elif report is not None and report.error:
            self._errors[name] = report.error
        return self._errors.get(name, "it keeps dying at start" if process.is_failing else "")

    # act

    async def _end_hung(self, processes: Sequence[ReplicaProcess]) -> None:
        """End replicas whose lease ran out though their process lives; others are started in their place."""
        seen = self._link.replicas()
        for process in processes:
            name, report = process.placement.id, seen.get(process.placement.id)
            if report is not None and is_hung(process, report) and name not in self._draining:
                logger.warning("replica hangs", extra={"replica": name, "pid": process.pid})
                self._draining.add(name)
                await self._fleet.stop(name)

    async def _scale(self, target: Target) -> None:
        deployment, now = target.deployment, time.monotonic()
        waiting = sum(
            report.queued + report.in_flight
            for gateway in self._link.gateways()
            for report in gateway.deployments
            if report.deployment == deployment.name
        )
        self._autoscaler.observe(deployment.name, Demand(now, waiting))
        wanted = self._autoscaler.decide(deployment.name, deployment.spec, deployment.wanted_replicas, now)
        if wanted != deployment.wanted_replicas:
            await asyncio.to_thread(self._write_wanted, deployment, wanted)

    def _write_wanted(self, was: Deployment, wanted: int) -> None:
        context = Context(caller=AUTOSCALER, request_id=new_id("scale"))
        try:
            with self._changes.record(
                context, "deployment.scaled", deployment=was.name, replicas=wanted, before=was.wanted_replicas
            ):
                self._store.deployments.replace(replace(was, wanted_replicas=wanted), was=was)
        except PreconditionFailedError:
            logger.info("deployment changed while scaling; next time", extra={"deployment": was.name})

    async def _act(self, target: Target) -> None:
        deployment, version = target.deployment, target.version
        wanted = Wanted(version.number, target.generation, deployment.wanted_replicas)
        replicas = self._replicas.get(deployment.name, [])
        if errors := [f"{replica.id}: {replica.error}" for replica in replicas if replica.error]:
            self._troubles[deployment.name] = "; ".join(errors)
        for action in plan(wanted, deployment.version, replicas):
            if isinstance(action, Start):
                await self._start(target)
            elif isinstance(action, Drain):
                self._draining.add(action.replica)
                await self._fleet.stop(action.replica)
            elif isinstance(action, Switch):
                await asyncio.to_thread(self._switch, deployment, action.version)

    async def _start(self, target: Target) -> None:
        deployment, version = target.deployment, target.version
        try:
            folder = await asyncio.to_thread(self._verified_folder, version.digest)
        except PlatformError as error:
            self._troubles[deployment.name] = str(error)
            return
        placement = ReplicaPlacement(
            id=f"{deployment.name}-{version.number}-{secrets.token_hex(3)}",
            deployment=deployment.name,
            version=version.number,
            digest=version.digest,
            release=target.generation,
            folder=folder,
            engine="onnx",
            threads=deployment.spec.threads,
            device=deployment.spec.device,
        )
        await self._fleet.ensure(placement)

    def _verified_folder(self, digest: Digest) -> str:
        if digest not in self._verified:
            self._artifacts.verify(digest)
            self._verified.add(digest)
        return str(self._artifacts.path(digest))

    def _switch(self, was: Deployment, version: int) -> None:
        current = self._store.deployments.find(was.name)
        if current is not None and current.version != version:
            try:
                self._store.deployments.replace(replace(current, version=version), was=current)
            except PreconditionFailedError:
                logger.info("deployment changed while switching; next time", extra={"deployment": was.name})

    async def _remove_orphans(self, processes: Sequence[ReplicaProcess], known: set[DeploymentName]) -> None:
        for process in processes:
            if process.placement.deployment not in known:
                self._draining.add(process.placement.id)
                await self._fleet.stop(process.placement.id)

    # publish

    def _next_snapshot(self) -> Snapshot | None:
        """Return a snapshot when gateways must know something new, else None; revisions grow across restarts."""
        routes, grants = self._routes(), self._grants()
        if (routes, grants) == self._published:
            return None
        self._revision = max(time.time_ns() // 1_000_000, self._revision + 1)
        self._published = (routes, grants)
        return Snapshot(revision=self._revision, created_at=time.time(), routes=routes, keys=grants)

    def _routes(self) -> list[Route]:
        """Return all routes; one whose artifact is gone stays as it was published, so that it holds up no other."""
        before = {route.deployment: route for route in self._published[0]} if self._published else {}
        routes = []
        for deployment in self._store.deployments.iter():
            try:
                route = self._route(deployment)
            except PlatformError as error:
                logger.warning("route not usable", extra={"deployment": deployment.name, "error": str(error)})
                route = before.get(deployment.name)
            if route is not None:
                routes.append(route)
        return routes

    def _route(self, deployment: Deployment) -> Route | None:
        if deployment.version is None:
            return None
        version = self._store.versions.get(deployment.spec.model, deployment.version)
        spec = deployment.spec
        return Route(
            deployment=deployment.name,
            workspace=deployment.workspace,
            model=spec.model,
            version=version.number,
            digest=version.digest,
            folder=str(self._artifacts.path(version.digest)),
            max_batch_tokens=spec.max_batch_tokens,
            queue_limit=spec.queue_limit,
            queue_deadline_ms=spec.queue_deadline_ms,
            release=deployment.release,
        )

    def _grants(self) -> list[KeyGrant]:
        now = datetime.now(UTC)
        return [
            KeyGrant(
                id=key.id,
                hash=key.hash,
                principal=key.principal,
                workspace=key.workspace,
                roles=sorted(key.roles),
                deployments=list(key.deployments),
                expires_at=key.expires_at.timestamp() if key.expires_at else None,
                requests_per_minute=key.requests_per_minute,
            )
            for key in self._store.keys.iter()
            if key.kind is not KeyKind.ONE_TIME and key.is_valid(now)
        ]


def is_hung(process: ReplicaProcess, report: ReplicaReport) -> bool:
    """Whether a gateway gave a replica up for its silence while its process lives: nobody else would start it again."""
    is_given_up = report.state == ReplicaState.FAILED and report.lease_age_s > LEASE_S
    return is_given_up and report.pid == process.pid
