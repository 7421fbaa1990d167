"""What runs becomes what is wanted: a real store, a real supervisor with its processes, and a gateway that reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.control.gateways import ScriptedGateway, let_go
from tests.control.ledgers import MemoryRecorder, by
from tests.fleet.programs import command
from tests.fleet.waiting import is_alive, until
from tests.tiny_model import build_servable

from hanlin.auth import Keys
from hanlin.control import Changes, Deployments, GatewayLink, Promotions, Reconciler, Registry
from hanlin.domain import Deployment, DeploymentName, Digest, KeyKind, Role, VersionFormat
from hanlin.fleet import FleetServer, LocalFleet, ReplicaProcess, Supervisor
from hanlin.store import ArtifactStore, Store

NAME = DeploymentName("reviews")
GOOD = {"accuracy": 0.9, "accuracy_low": 0.85, "n": 500}


class Plane:
    """Control without its API."""

    def __init__(self, folder: Path, store: Store, recorder: MemoryRecorder) -> None:
        self.store, self.recorder, self._folder = store, recorder, folder
        self.changes = Changes(store, recorder)
        self.deployments = Deployments(store, self.changes)
        self.promotions = Promotions(store, self.changes)
        self.registry = Registry(store, self.changes)
        self.artifacts = ArtifactStore(folder / "artifacts")
        self.supervisor = Supervisor(folder)
        self.server = FleetServer(self.supervisor, lambda _: command("sleeper"))
        self.fleet, self.link, self.gateway = LocalFleet(folder / "s.sock"), GatewayLink(), ScriptedGateway()
        self.reconciler = Reconciler(store, self.artifacts, self.changes, self.fleet, self.link)

    async def start(self) -> None:
        """Listen, and have the gateway dial in."""
        await self.server.listen(self._folder / "s.sock")
        await self.link.listen(self._folder / "c.sock")
        await self.gateway.dial(self._folder / "c.sock")

    async def end(self) -> None:
        """End everything that runs."""
        await self.gateway.close()
        self.fleet.close()
        await let_go(self.link)
        self.server.close()
        for status in self.supervisor.list():
            await self.supervisor.stop(status.name, grace_s=0.1)

    def publish(self, seed: int) -> int:
        """Register a version and have the champion name it; return its number."""
        digest = self.artifacts.put(build_servable(self._folder / f"model-{seed}", seed=seed))
        facts = {
            "digest": digest, "format": VersionFormat.ONNX, "precision": "fp32", "size_bytes": 1,
            "labels": ("负面", "正面"), "max_length": 64,
        }  # fmt: skip
        version = self.registry.add_version(by("task"), "reviews", facts)
        self.registry.add_evidence(by("task"), "reviews", version.number, "quality", GOOD, None)
        promotion = self.promotions.request(
            by("anna"), model="reviews", version=version.number, alias="champion", policy="n >= 100",
            may_approve_itself=False,
        )  # fmt: skip
        self.promotions.approve(by("bert"), promotion.id, "good")
        return version.number

    def deploy(self, **config: int) -> None:
        """Create the deployment."""
        self.deployments.create(by("olga"), name=NAME, model="reviews", alias="champion", config=config)

    def deployment(self) -> Deployment:
        """Return the deployment as it is stored."""
        return self.store.deployments.get(NAME)

    async def step(self) -> list[ReplicaProcess]:
        """Reconcile once and return what runs then."""
        await self.reconciler.step()
        return await self.fleet.look()

    async def ready(self, *, version: int | None = None) -> None:
        """Have the gateway see replicas (of a version) as ready, and control hear of it."""
        for process in await self.fleet.look():
            placement = process.placement
            if version is None or placement.version == version:
                self.gateway.sees(placement.id, version=placement.version, digest=placement.digest, pid=process.pid)
        await self.tell()

    async def tell(self) -> None:
        """Send a report and wait until control has it."""
        await self.gateway.report()
        await until(lambda: self.link.replicas() == self.gateway.replicas)

    async def serving(self) -> None:
        """Go on until the newest version serves."""
        await self.step()
        await self.ready()
        await self.step()
        await self.step()


@pytest.fixture
async def plane(tmp_path: Path, store: Store, recorder: MemoryRecorder) -> AsyncIterator[Plane]:
    """A control plane with a published model and no deployment."""
    plane = Plane(tmp_path, store, recorder)
    await plane.start()
    plane.publish(1)
    yield plane
    await plane.end()


class TestRollout:
    async def test_of_a_first_version(self, plane: Plane) -> None:
        """Replicas are started, and gateways hear of the route at once, so that first requests wait for them."""
        plane.deploy(min_replicas=2)

        processes = await plane.step()
        assert len(processes) == 2
        assert [r.state for r in plane.reconciler.replicas(NAME)] == []
        await plane.ready()
        await plane.step()

        assert plane.deployment().version == 1
        await until(lambda: plane.gateway.snapshots and plane.gateway.snapshots[-1].routes)
        (route,) = plane.gateway.snapshots[-1].routes
        assert (route.deployment, route.version, route.digest) == (NAME, 1, processes[0].placement.digest)
        assert route.folder == str(plane.artifacts.path(Digest(route.digest)))
        assert [r.state for r in plane.reconciler.replicas(NAME)] == ["ready", "ready"]

    async def test_repeated_changes_nothing(self, plane: Plane) -> None:
        """Once what is wanted runs, looking again starts, stops, writes and publishes nothing."""
        plane.deploy()
        await plane.serving()
        before = await plane.step()
        entries, snapshots = len(plane.recorder.entries), len(plane.gateway.snapshots)

        for _ in range(5):
            assert await plane.step() == before
        assert (len(plane.recorder.entries), len(plane.gateway.snapshots)) == (entries, snapshots)

    async def test_of_the_next_version_keeps_the_old_until_it_is_ready(self, plane: Plane) -> None:
        """The old replica serves until the new one is ready, then requests move, then the old one leaves."""
        plane.deploy()
        await plane.serving()
        (old,) = await plane.step()
        second = plane.publish(2)

        both = await plane.step()
        assert {process.placement.version for process in both} == {1, second}
        assert plane.deployment().version == 1
        await plane.ready(version=second)
        await plane.step()
        assert plane.deployment().version == second
        await plane.step()

        await until(lambda: not is_alive(old.pid))
        assert [process.placement.version for process in await plane.fleet.look()] == [second]

    async def test_of_a_setting_of_the_engine_replaces_replicas(self, plane: Plane) -> None:
        """Another number of threads needs other processes; another bound of a queue does not."""
        plane.deploy()
        await plane.serving()
        (old,) = await plane.step()

        plane.deployments.configure(by("olga"), NAME, {"queue_limit": 9})
        assert [process.pid for process in await plane.step()] == [old.pid]
        await until(lambda: plane.gateway.snapshots[-1].routes[0].queue_limit == 9)
        plane.deployments.configure(by("olga"), NAME, {"threads": 2})
        both = await plane.step()

        assert [process.placement.threads for process in both] == [1, 2]
        await plane.ready()
        await plane.step()
        await until(lambda: not is_alive(old.pid))

    async def test_ends_with_its_deployment(self, plane: Plane) -> None:
        """A deleted deployment leaves no process and no route."""
        plane.deploy()
        await plane.serving()
        (process,) = await plane.step()

        plane.deployments.delete(by("olga"), NAME)
        await plane.step()

        await until(lambda: not is_alive(process.pid))
        await until(lambda: not plane.gateway.snapshots[-1].routes)


class TestTrouble:
    async def test_of_a_changed_artifact_starts_nothing(self, plane: Plane) -> None:
        """Bytes that are not what was registered are never loaded, and the deployment says so."""
        plane.deploy()
        digest = plane.store.versions.get("reviews", 1).digest
        with (plane.artifacts.path(digest) / "model.onnx").open("ab") as file:
            file.write(b"x")

        assert await plane.step() == []
        assert "model.onnx" in plane.reconciler.trouble(NAME)

    async def test_of_one_deployment_holds_up_no_other(self, plane: Plane, tmp_path: Path) -> None:
        """An artifact that is gone stops its own rollout; keys and other deployments are published all the same."""
        plane.deploy()
        await plane.serving()
        digest = plane.store.versions.get("reviews", 1).digest
        plane.artifacts.path(digest).rename(tmp_path / "gone")
        keys = Keys(plane.store, b"s" * 32)
        now = datetime.now(UTC)
        row, _ = keys.issue(kind=KeyKind.API, name="n", principal="p", roles=[Role.CALLER], by="a", now=now)

        revision = await plane.reconciler.publish()

        await until(lambda: plane.gateway.snapshots[-1].revision == revision)
        newest = plane.gateway.snapshots[-1]
        assert [grant.id for grant in newest.keys] == [row.id]
        assert [route.deployment for route in newest.routes] == [NAME]

    async def test_of_the_ledger_holds_up_no_rollout(self, plane: Plane) -> None:
        """A ledger that takes no record keeps a deployment from scaling, and says so; another one is started."""
        plane.deploy(max_replicas=4)
        await plane.serving()
        plane.gateway.queued = {NAME: 100}
        await plane.tell()
        plane.deployments.create(by("olga"), name="second", model="reviews", alias="champion", config={})
        plane.recorder.is_failing = True

        processes = await plane.step()

        assert "second" in {process.placement.deployment for process in processes}
        assert plane.deployment().wanted_replicas == 1
        assert "ledger" in plane.reconciler.trouble(NAME)

    async def test_is_told_until_it_is_over(self, plane: Plane) -> None:
        """What a replica failed with is shown while it is started again and again, and gone when it is ready."""
        plane.deploy()
        (process,) = await plane.step()
        name = process.placement.id
        plane.gateway.sees(name, "failed", error="servable_invalid: no model", pid=process.pid)
        await plane.tell()
        await plane.step()
        during = plane.reconciler.trouble(NAME)
        plane.gateway.replicas.clear()
        await plane.tell()
        await plane.step()
        between = plane.reconciler.trouble(NAME)
        await plane.ready()
        await plane.step()

        assert "no model" in during
        assert "no model" in between
        assert plane.reconciler.trouble(NAME) == ""

    async def test_of_a_hanging_replica_ends_it(self, plane: Plane) -> None:
        """A process that lives while its lease ran out is ended, and another takes its place."""
        plane.deploy()
        await plane.serving()
        (hung,) = await plane.step()
        plane.gateway.sees(hung.placement.id, "failed", error="its lease expired", pid=hung.pid, lease_age_s=2.5)
        await plane.tell()

        await plane.step()
        await until(lambda: not is_alive(hung.pid))
        after = await plane.step()

        assert hung.placement.id not in {process.placement.id for process in after}
        assert len(after) == 1


class TestScaling:
    async def test_follows_the_queue(self, plane: Plane) -> None:
        """A long queue wants as many replicas as may be; the change is in the ledger, by name."""
        plane.deploy(max_replicas=3)
        await plane.serving()
        plane.gateway.queued = {NAME: 500}
        await plane.tell()

        await plane.step()
        processes = await plane.step()

        assert plane.deployment().wanted_replicas == 3
        assert len(processes) == 3
        scaled = [entry for entry in plane.recorder.entries if entry.action == "deployment.scaled"]
        assert [entry.actor for entry in scaled] == ["autoscaler"]


class TestPublishing:
    async def test_leaves_out_keys_that_do_not_count(self, plane: Plane) -> None:
        """Revoked, expired and one-time keys are never told to gateways."""
        keys, now = Keys(plane.store, b"s" * 32), datetime.now(UTC)

        def issue(kind: KeyKind) -> str:
            return keys.issue(kind=kind, name="n", principal="p", roles=[Role.CALLER], by="a", now=now)[0].id

        good, revoked = issue(KeyKind.API), issue(KeyKind.API)
        issue(KeyKind.ONE_TIME)
        keys.revoke(revoked, now)

        await plane.reconciler.publish()

        await until(lambda: plane.gateway.snapshots)
        assert [grant.id for grant in plane.gateway.snapshots[-1].keys] == [good]

    async def test_at_the_same_time_loses_nothing(self, plane: Plane) -> None:
        """Ten keys made at once by ten callers: the last snapshot has all ten, and revisions only grow."""
        keys, now = Keys(plane.store, b"s" * 32), datetime.now(UTC)

        async def make() -> int:
            await asyncio.to_thread(
                keys.issue, kind=KeyKind.API, name="n", principal="p", roles=[Role.CALLER], by="a", now=now
            )
            return await plane.reconciler.publish()

        revisions = await asyncio.gather(*(make() for _ in range(10)))

        await until(lambda: plane.gateway.snapshots and plane.gateway.snapshots[-1].revision == max(revisions))
        assert len(plane.gateway.snapshots[-1].keys) == 10
        seen = [snapshot.revision for snapshot in plane.gateway.snapshots]
        assert seen == sorted(set(seen))
