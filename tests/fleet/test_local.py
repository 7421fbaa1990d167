from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.fleet.programs import command
from tests.fleet.waiting import is_alive, until

from hanlin.domain import UnavailableError
from hanlin.fleet import FleetServer, LocalFleet, ReplicaPlacement, ReplicaProcess, Supervisor


class Machine:
    """A supervisor that takes requests on a Unix socket, as on every machine of a platform."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "supervisor.sock"
        self.supervisor = Supervisor(folder)
        self.server = FleetServer(self.supervisor, argv_of)

    async def start(self) -> None:
        """Take requests."""
        await self.server.listen(self.socket)

    async def end(self) -> None:
        """End all replicas."""
        self.server.close()
        for status in self.supervisor.list():
            await self.supervisor.stop(status.name, grace_s=0.1)


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A machine without replicas."""
    made = Machine(tmp_path)
    await made.start()
    yield made
    await made.end()


@pytest.fixture
async def fleet(machine: Machine) -> AsyncIterator[LocalFleet]:
    """Control's view of that machine."""
    made = LocalFleet(machine.socket)
    yield made
    made.close()


class TestLocalFleet:
    async def test_a_new_machine_has_no_replicas(self, fleet: LocalFleet) -> None:
        """Nothing runs that nobody asked for."""
        assert await fleet.look() == []

    async def test_ensure_has_a_replica_run(self, fleet: LocalFleet) -> None:
        """A placement becomes a process of its own, described with all that it serves."""
        placement = placed("r1")

        await fleet.ensure(placement)
        (replica,) = await running(fleet, 1)

        assert replica.placement == placement
        assert (replica.restarts, replica.last_exit, replica.is_failing) == (0, None, False)
        assert is_alive(replica.pid)

    async def test_ensuring_twice_changes_nothing(self, fleet: LocalFleet) -> None:
        """Asked again, the machine answers with the same process."""
        await fleet.ensure(placed("r1"))
        before = await running(fleet, 1)

        assert await fleet.ensure(placed("r1")) == before

    async def test_answers_with_all_replicas(self, fleet: LocalFleet) -> None:
        """Every answer has the whole fleet, each replica once."""
        for name in ("r1", "r2", "r3"):
            await fleet.ensure(placed(name))

        replicas = await running(fleet, 3)

        assert [replica.placement.id for replica in replicas] == ["r1", "r2", "r3"]
        assert len({replica.pid for replica in replicas}) == 3

    async def test_stop_ends_one_replica(self, fleet: LocalFleet) -> None:
        """The one that is named ends and is gone from the answer at once; the others go on."""
        for name in ("r1", "r2"):
            await fleet.ensure(placed(name))
        first, second = await running(fleet, 2)

        left = await fleet.stop("r1")

        assert left == [second]
        await until(lambda: not is_alive(first.pid))
        assert await fleet.stop("r1") == [second]
        assert is_alive(second.pid)

    async def test_a_stopped_replica_can_come_back(self, fleet: LocalFleet) -> None:
        """Asked for again until it is there, as control does, a replica of the same name runs anew."""
        await fleet.ensure(placed("r1"))
        (before,) = await running(fleet, 1)

        await fleet.stop("r1")
        after = before
        async with asyncio.timeout(15):
            while after.pid in {0, before.pid}:
                after = next(iter(await fleet.ensure(placed("r1"))), before)
                await asyncio.sleep(0.01)

        assert is_alive(after.pid)
        assert not is_alive(before.pid)

    async def test_stopping_what_never_ran_does_nothing(self, fleet: LocalFleet) -> None:
        """Stop is idempotent, for names that were never heard of too."""
        assert await fleet.stop("nobody") == []

    async def test_shows_restarts(self, fleet: LocalFleet) -> None:
        """A replica that was killed comes back with another process number, and the restart is counted."""
        await fleet.ensure(placed("r1"))
        (before,) = await running(fleet, 1)

        os.kill(before.pid, signal.SIGKILL)
        async with asyncio.timeout(15):
            while (now := (await fleet.look())[0]).pid in {0, before.pid}:
                await asyncio.sleep(0.01)

        assert (now.restarts, now.last_exit) == (1, -signal.SIGKILL)

    async def test_shows_what_cannot_run(self, fleet: LocalFleet) -> None:
        """A replica that keeps dying is called failing."""
        await fleet.ensure(placed("r1", engine="failing"))

        async with asyncio.timeout(15):
            while not (now := (await fleet.look())[0]).is_failing:
                await asyncio.sleep(0.01)

        assert now.last_exit == 7

    async def test_many_may_ask_at_once(self, fleet: LocalFleet) -> None:
        """Requests of several tasks over the one connection each get their own answer."""
        answers = await asyncio.gather(*(fleet.ensure(placed(f"r{number}")) for number in range(8)))

        assert all(f"r{number}" in {r.placement.id for r in answer} for number, answer in enumerate(answers))
        await running(fleet, 8)

    async def test_a_request_that_was_given_up_confuses_nothing(self, fleet: LocalFleet) -> None:
        """The answer to a request that was cancelled half way is not taken for the answer to the next one."""
        await fleet.look()
        for number in range(5):
            given_up = asyncio.create_task(fleet.ensure(placed("r1")))
            for _ in range(number):
                await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)

        assert [replica.placement.id for replica in await fleet.ensure(placed("r2"))] in (["r1", "r2"], ["r2"])
        assert await fleet.stop("r1") == await fleet.look()
        assert [replica.placement.id for replica in await fleet.look()] == ["r2"]

    async def test_two_controls_see_the_same(self, machine: Machine, fleet: LocalFleet) -> None:
        """The machine keeps its replicas, whoever asks and however often control starts anew."""
        await fleet.ensure(placed("r1"))
        before = await running(fleet, 1)
        other = LocalFleet(machine.socket)

        assert await other.look() == before
        other.close()


class TestUnavailable:
    async def test_without_a_supervisor_says_so(self, tmp_path: Path) -> None:
        """No supervisor: an error that may be retried (``fleet_unavailable``)."""
        fleet = LocalFleet(tmp_path / "nobody.sock")

        with pytest.raises(UnavailableError) as caught:
            await fleet.look()

        assert caught.value.code == "fleet_unavailable"
        assert caught.value.is_retryable

    async def test_a_supervisor_that_comes_back_is_found(self, tmp_path: Path) -> None:
        """After an error the next request dials again: a new supervisor on the same socket answers."""
        path = tmp_path / "supervisor.sock"
        hanging_up = await asyncio.start_unix_server(hang_up, path)
        fleet = LocalFleet(path)
        with pytest.raises(UnavailableError) as caught:
            await fleet.look()
        hanging_up.close()
        await hanging_up.wait_closed()

        machine = Machine(tmp_path)
        await machine.start()

        assert caught.value.code == "fleet_unavailable"
        assert await fleet.look() == []
        fleet.close()
        await machine.end()

    async def test_garbage_ends_its_own_connection_only(self, machine: Machine, fleet: LocalFleet) -> None:
        """Bytes that are no frame are nobody's request: the machine goes on answering others."""
        troubles: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, trouble: troubles.append(trouble))
        reader, writer = await asyncio.open_unix_connection(str(machine.socket))

        writer.write(b"GET / HTTP/1.1\r\n\r\n")

        assert await reader.read() == b""
        assert await fleet.look() == []
        assert troubles == []
        writer.close()

    def test_the_socket_is_closed_to_others(self, tmp_path: Path) -> None:
        """Only the owner of the platform may ask it to start processes."""

        async def listen() -> int:
            machine = Machine(tmp_path)
            await machine.start()
            mode = machine.socket.stat().st_mode
            await machine.end()
            return mode & 0o777

        assert asyncio.run(listen()) == 0o600


def placed(name: str, *, engine: str = "sleeper") -> ReplicaPlacement:
    """Return a placement whose engine is one of the test's programs."""
    return ReplicaPlacement(
        id=name, deployment="情感", version=3, digest="sha256:0", release=2, folder="/nowhere", engine=engine,
        threads=1, device="cpu",
    )  # fmt: skip


def argv_of(placement: ReplicaPlacement) -> Sequence[str]:
    """Run the program that the placement names."""
    return command(placement.engine)


async def running(fleet: LocalFleet, count: int) -> list[ReplicaProcess]:
    """Wait until *count* replicas have processes, and return them."""
    async with asyncio.timeout(15):
        while True:
            replicas = await fleet.look()
            if sum(replica.pid > 0 for replica in replicas) == count:
                return replicas
            await asyncio.sleep(0.01)


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be a supervisor that dies at the first request."""
    writer.close()
