"""Between control and its gateways: snapshots go out, reports come back, and an answer can wait for both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.control.gateways import ScriptedGateway, let_go
from tests.fleet.waiting import until
from tests.gateway.running import RunningGateway, grant
from tests.tiny_model import build_servable

from hanlin.control import GatewayLink
from hanlin.wire import GatewayReport, KeyGrant, Snapshot


def snapshot(revision: int, *keys: KeyGrant) -> Snapshot:
    """Return a snapshot without routes."""
    return Snapshot(revision=revision, created_at=0.0, routes=[], keys=list(keys))


@pytest.fixture
def heard() -> list[GatewayReport]:
    """The reports that came."""
    return []


@pytest.fixture
async def link(tmp_path: Path, heard: list[GatewayReport]) -> AsyncIterator[GatewayLink]:
    """Control's end, listening."""
    link = GatewayLink(on_report=heard.append)
    await link.listen(tmp_path / "control.sock")
    yield link
    await let_go(link)


@pytest.fixture
async def gateway(tmp_path: Path, link: GatewayLink) -> AsyncIterator[ScriptedGateway]:
    """A gateway that has dialled in and reported once."""
    gateway = ScriptedGateway()
    await gateway.dial(tmp_path / "control.sock")
    await gateway.report()
    await until(link.gateways)
    yield gateway
    await gateway.close()


class TestSnapshots:
    async def test_reach_every_gateway_in_order(self, link: GatewayLink, gateway: ScriptedGateway) -> None:
        """Each snapshot is sent as it is published."""
        for revision in (1, 2, 3):
            link.publish(snapshot(revision))

        await until(lambda: len(gateway.snapshots) == 3)
        assert [one.revision for one in gateway.snapshots] == [1, 2, 3]

    async def test_wait_for_gateways_that_dial_later(self, link: GatewayLink, tmp_path: Path) -> None:
        """A gateway that starts after control gets the newest snapshot at once, and only that."""
        link.publish(snapshot(1))
        link.publish(snapshot(2))
        late = ScriptedGateway()
        await late.dial(tmp_path / "control.sock")

        await until(lambda: late.snapshots)
        assert [one.revision for one in late.snapshots] == [2]
        await late.close()


class TestAcknowledged:
    async def test_waits_for_the_slowest_gateway(
        self, link: GatewayLink, gateway: ScriptedGateway, tmp_path: Path
    ) -> None:
        """It is true when every gateway has the revision, not before."""
        second = ScriptedGateway("gateway-1")
        await second.dial(tmp_path / "control.sock")
        await second.report()
        await until(lambda: len(link.gateways()) == 2)
        link.publish(snapshot(7))
        waiting = asyncio.create_task(link.acknowledged(7, 10))

        await gateway.report(7)
        await until(lambda: {report.revision for report in link.gateways()} == {0, 7})
        assert not waiting.done()
        await second.report(7)

        assert await waiting is True
        await second.close()

    async def test_gives_up_in_time(self, link: GatewayLink, gateway: ScriptedGateway) -> None:
        """A gateway that does not take it holds nobody up for longer than was said."""
        began = time.monotonic()

        assert await link.acknowledged(7, 0.1) is False
        assert time.monotonic() - began < 1

    async def test_waits_for_nobody_where_nobody_is(self, link: GatewayLink) -> None:
        """Without gateways there is nothing to wait for."""
        assert await link.acknowledged(7, 10) is True

    async def test_counts_later_revisions(self, link: GatewayLink, gateway: ScriptedGateway) -> None:
        """Whoever has a newer snapshot has this one."""
        await gateway.report(9)
        await until(lambda: link.gateways()[0].revision == 9)

        assert await link.acknowledged(7, 10) is True

    async def test_means_that_keys_work(self, tmp_path: Path) -> None:
        """At a real gateway a key opens as soon as its snapshot is acknowledged, and not one request after its end."""
        build_servable(tmp_path / "model")
        link = GatewayLink()
        await link.listen(tmp_path / "control.sock")
        async with RunningGateway(tmp_path) as running:
            await until(link.gateways)

            for number in range(1, 21):
                keys = [grant()] if number % 2 else []
                link.publish(snapshot(number, *keys))
                assert await link.acknowledged(number, 5)
                reply = await running.client.get("/v1/models")
                assert reply.status_code == (200 if number % 2 else 401)
        await let_go(link)


class TestReports:
    async def test_are_kept_while_a_gateway_speaks(
        self, link: GatewayLink, gateway: ScriptedGateway, heard: list[GatewayReport]
    ) -> None:
        """The newest report of each gateway counts; one that falls silent is forgotten after three seconds."""
        gateway.sees("r1")
        await gateway.report()
        await until(link.replicas)

        assert [report.gateway for report in heard] == ["gateway-0", "gateway-0"]
        assert link.replicas()["r1"].state == "ready"
        await gateway.close()
        took_s = await until(lambda: not link.gateways())
        assert 1 < took_s < 5
        assert link.replicas() == {}

    async def test_agree_that_ready_with_one_is_ready(
        self, link: GatewayLink, gateway: ScriptedGateway, tmp_path: Path
    ) -> None:
        """A replica that one gateway has lost and another serves with is ready."""
        second = ScriptedGateway("gateway-1")
        await second.dial(tmp_path / "control.sock")
        gateway.sees("r1", "failed")
        second.sees("r1", "ready")
        await second.report()
        await gateway.report()
        await until(lambda: len(link.gateways()) == 2 and link.replicas())

        assert link.replicas()["r1"].state == "ready"
        await second.close()

    async def test_that_are_nonsense_end_the_connection(
        self, link: GatewayLink, gateway: ScriptedGateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whoever does not speak the protocol is cut off; the others are served on."""
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
        writer.write(b"\xff" * 64)

        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        link.publish(snapshot(1))
        await until(lambda: gateway.snapshots)
        assert [record.name for record in caplog.records if record.levelname == "ERROR"] == []
