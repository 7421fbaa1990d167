"""Real programs for the tests of the fleet: ``programs.py NAME …``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from hanlin.fleet import FolderLock, ProcessSpec, Supervisor, die_with_parent, inherited_listener


def sleeper() -> None:
    """Die with the parent, else sleep."""
    die_with_parent()
    say("sleeping")
    time.sleep(600)


def stubborn() -> None:
    """Ignore SIGTERM."""
    die_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("ignoring")
    time.sleep(600)


def failing() -> None:
    """Die at once."""
    say("dying")
    sys.exit(7)


def environment(*names: str) -> None:
    """Say what the environment has, then sleep."""
    die_with_parent()
    say(" ".join(f"{name}={os.environ.get(name)}" for name in names))
    time.sleep(600)


def greeter() -> None:
    """Answer every connection to the inherited socket with the process id."""
    die_with_parent()
    listener = inherited_listener()
    assert listener is not None
    listener.setblocking(True)
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(str(os.getpid()).encode())


def holder(path: str) -> None:
    """Hold the lock at *path*."""
    FolderLock(Path(path)).acquire()
    say("holding")
    time.sleep(600)


def supervise(folder: str) -> None:
    """Supervise two sleepers and say which they are."""

    async def run() -> None:
        supervisor = Supervisor(Path(folder))
        for name in ("first", "second"):
            supervisor.ensure(ProcessSpec(name=name, argv=command("sleeper")))
        logs = [Path(folder) / f"{name}.log" for name in ("first", "second")]
        while not all(log.is_file() and "sleeping" in log.read_text() for log in logs):
            await asyncio.sleep(0.01)
        say(" ".join(str(status.pid) for status in supervisor.list()))
        await asyncio.sleep(600)

    asyncio.run(run())


def command(name: str, *arguments: object) -> list[str]:
    """Return the command line of one of these programs."""
    return [sys.executable, __file__, name, *map(str, arguments)]


def say(text: str) -> None:
    """Print a line that is there at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
