from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.fleet.programs import command
from tests.fleet.waiting import is_alive, until

from hanlin.fleet import ProcessSpec, ProcessStatus, Supervisor, bind_port


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    """A supervisor that logs into the test's folder."""
    made = Supervisor(tmp_path)
    yield made
    for status in made.list():
        await made.stop(status.name, grace_s=0.1)


class TestSupervisor:
    async def test_runs_what_it_is_given(self, supervisor: Supervisor, tmp_path: Path) -> None:
        """A process is started, described, and what it prints is in a log of its name."""
        supervisor.ensure(ProcessSpec(name="calm", argv=command("sleeper")))
        await printed(tmp_path / "calm.log", "sleeping")

        status = only(supervisor)

        assert is_alive(status.pid)
        assert (status.name, status.restarts, status.last_exit, status.is_failing) == ("calm", 0, None, False)
        assert abs(time.time() - status.started_at) < 60

    async def test_ensuring_twice_runs_it_once(self, supervisor: Supervisor, tmp_path: Path) -> None:
        """Asking again for a name that runs changes nothing."""
        supervisor.ensure(ProcessSpec(name="calm", argv=command("sleeper")))
        await printed(tmp_path / "calm.log", "sleeping")
        before = only(supervisor)

        supervisor.ensure(ProcessSpec(name="calm", argv=command("failing")))

        assert supervisor.list() == [before]

    async def test_starts_a_killed_process_again(self, supervisor: Supervisor, tmp_path: Path) -> None:
        """After kill -9 another process is there within a second; the status counts the restart and its reason."""
        supervisor.ensure(ProcessSpec(name="calm", argv=command("sleeper")))
        await printed(tmp_path / "calm.log", "sleeping")
        before = only(supervisor).pid

        os.kill(before, signal.SIGKILL)
        took = await until(lambda: only(supervisor).pid not in {0, before})
        await printed(tmp_path / "calm.log", "sleeping\nsleeping")

        status = only(supervisor)
        assert (status.restarts, status.last_exit, status.is_failing) == (1, -signal.SIGKILL, False)
        assert is_alive(status.pid)
        assert not is_alive(before)
        assert took < 5

    async def test_gives_one_that_keeps_dying_longer_pauses(self, supervisor: Supervisor) -> None:
        """The pauses double, so that a broken process does not take the machine; it is called failing after a few."""
        begun = time.monotonic()
        supervisor.ensure(ProcessSpec(name="broken", argv=["false"]))
        await until(lambda: only(supervisor).restarts >= 1)
        early = only(supervisor)

        await until(lambda: only(supervisor).is_failing)
        await until(lambda: only(supervisor).restarts >= 5)

        assert not early.is_failing
        assert time.monotonic() - begun >= 0.05 + 0.1 + 0.2 + 0.4
        assert only(supervisor).last_exit == 1

    async def test_a_program_that_is_not_there_is_failing(self, supervisor: Supervisor, tmp_path: Path) -> None:
        """A command that cannot be started at all is tried again like one that dies, and called failing."""
        missing = tmp_path / "program"
        supervisor.ensure(ProcessSpec(name="missing", argv=[str(missing)]))
        await until(lambda: only(supervisor).restarts >= 2)
        assert (only(supervisor).pid, only(supervisor).last_exit) == (0, 127)

        missing.write_text("#!/bin/sh\nexec sleep 600\n")
        missing.chmod(0o700)

        await until(lambda: only(supervisor).pid > 0)

    async def test_stops_at_once_what_leaves_when_asked(self, supervisor: Supervisor, tmp_path: Path) -> None:
        """SIGTERM is enough for most: the process is gone when stop returns, and is not started again."""
        supervisor.ensure(ProcessSpec(name="calm", argv=command("sleeper")))
        await printed(tmp_path / "calm.log", "sleeping")
        pid = only(supervisor).pid

        await supervisor.stop("calm", grace_s=30)
        await supervisor.stop("calm", grace_s=30)

        assert not is_alive(pid)
        assert supervisor.list() == []

    async def test_kills_what_does_not_leave_in_time(self, supervisor: Supervisor, tmp_path: Path) -> None:
        """A process that ignores SIGTERM has its grace, and is then killed."""
        supervisor.ensure(ProcessSpec(name="stubborn", argv=command("stubborn")))
        await printed(tmp_path / "stubborn.log", "ignoring")
        pid, begun = only(supervisor).pid, time.monotonic()

        await supervisor.stop("stubborn", grace_s=0.3)

        assert not is_alive(pid)
        assert 0.3 <= time.monotonic() - begun < 5

    async def test_stops_one_between_two_lives(self, supervisor: Supervisor) -> None:
        """A process that is waiting to be started again is not."""
        supervisor.ensure(ProcessSpec(name="broken", argv=["false"]))
        await until(lambda: only(supervisor).restarts >= 3 and only(supervisor).pid == 0)

        await supervisor.stop("broken")

        assert supervisor.list() == []

    async def test_stops_one_that_is_just_being_started(self, supervisor: Supervisor, tmp_path: Path) -> None:
        """Stopped before it ran: nothing stays behind."""
        for number in range(5):
            supervisor.ensure(ProcessSpec(name="calm", argv=["sleep", "603"]))
            for _ in range(number):
                await asyncio.sleep(0)
            await supervisor.stop("calm", grace_s=5)

        assert supervisor.list() == []
        await until(lambda: not running(["sleep", "603"]))

    async def test_stops_everything_in_order(self, supervisor: Supervisor, tmp_path: Path) -> None:
        """Those that others need are stopped last: they are still there when the others are gone."""
        for name in ("store", "gateway", "first", "second"):
            supervisor.ensure(ProcessSpec(name=name, argv=command("sleeper")))
        for name in ("store", "gateway", "first", "second"):
            await printed(tmp_path / f"{name}.log", "sleeping")
        pids = {status.name: status.pid for status in supervisor.list()}
        seen: list[set[str]] = []

        stopping = asyncio.create_task(supervisor.stop_all(last=("gateway", "store", "never-started")))
        while not stopping.done():
            seen.append({name for name, pid in pids.items() if is_alive(pid)})
            await asyncio.sleep(0)

        assert all("store" in alive for alive in seen if len(alive) > 0)
        assert all("gateway" in alive for alive in seen if alive & {"first", "second"})
        assert not any(is_alive(pid) for pid in pids.values())

    async def test_gives_each_its_environment(self, supervisor: Supervisor, tmp_path: Path) -> None:
        """A process sees its own variables beside those of the supervisor."""
        argv = command("environment", "HANLIN_COLOUR", "HANLIN_PARENT_PID", "HOME")
        supervisor.ensure(ProcessSpec(name="painter", argv=argv, environment={"HANLIN_COLOUR": "青"}))

        await printed(
            tmp_path / "painter.log", f"HANLIN_COLOUR=青 HANLIN_PARENT_PID=None HOME={os.environ.get('HOME')}"
        )

    async def test_a_listening_socket_outlives_its_server(self, supervisor: Supervisor) -> None:
        """Whoever connects while the server is replaced is answered by the next one: nobody is refused."""
        with bind_port("127.0.0.1", 0) as listener:
            supervisor.ensure(ProcessSpec(name="greeter", argv=command("greeter"), listener=listener))
            first = await asyncio.to_thread(greeted, listener)
            assert first == only(supervisor).pid

            os.kill(first, signal.SIGKILL)
            second = await asyncio.to_thread(greeted, listener)

            assert second != first
            assert second == only(supervisor).pid


class TestLogs:
    async def test_grow_over_restarts(self, supervisor: Supervisor, tmp_path: Path) -> None:
        """What a process said before it died stays in the log."""
        supervisor.ensure(ProcessSpec(name="failing", argv=command("failing")))

        await printed(tmp_path / "failing.log", "dying\ndying\n")

    async def test_a_long_log_is_put_aside(self, supervisor: Supervisor, tmp_path: Path) -> None:
        """A log past 20 MB becomes the old log when the process starts, and a new one is begun; one old log is kept."""
        log, old = tmp_path / "calm.log", tmp_path / "calm.log.1"
        old.write_text("older\n")
        log.write_text("old\n")
        os.truncate(log, 21 * 1024 * 1024)

        supervisor.ensure(ProcessSpec(name="calm", argv=command("sleeper")))
        await printed(log, "sleeping")

        assert log.stat().st_size < 1000
        assert old.stat().st_size == 21 * 1024 * 1024
        assert old.read_text().startswith("old\n")


class TestDyingWithTheParent:
    async def test_children_of_a_killed_supervisor_are_gone(self, tmp_path: Path) -> None:
        """Kill -9 of the supervisor leaves none of its children behind, within seconds."""
        process = await asyncio.create_subprocess_exec(*command("supervise", tmp_path), stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        children = [int(pid) for pid in (await process.stdout.readline()).split()]
        assert len(children) == 2
        assert all(map(is_alive, children))

        process.kill()
        await process.wait()

        await until(lambda: not any(map(is_alive, children)), within_s=5)


def only(supervisor: Supervisor) -> ProcessStatus:
    """Return the status of the one process that is supervised."""
    (status,) = supervisor.list()
    return status


async def printed(log: Path, text: str) -> None:
    """Wait until the log has that text."""
    await until(lambda: log.is_file() and text in log.read_text(encoding="utf-8"))


def greeted(listener: socket.socket) -> int:
    """Connect and return the number of the process that answers."""
    with socket.create_connection(listener.getsockname(), timeout=15) as connection:
        return int(connection.makefile("rb").read())


def running(argv: list[str]) -> bool:
    """Say whether a process with that command line runs."""
    wanted = b"\0".join(part.encode() for part in argv) + b"\0"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == wanted:
                return True
        except OSError:
            continue
    return False
