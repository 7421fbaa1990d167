"""The supervisor: starts processes, and starts them again when they die."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hanlin.fleet.parent import child_environment
from hanlin.fleet.ports import LISTEN_FD

logger = logging.getLogger(__name__)
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 10.0
STABLE_S = 10.0
GRACE_S = 12.0
LOG_BYTES = 20 * 1024 * 1024
NOT_STARTED = 127  # what a shell says then


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A process that is to run: its command line, and the listening socket that it inherits."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    listener: socket.socket | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """A supervised process as it is now; *pid* is 0 between two lives."""

    name: str
    pid: int
    restarts: int
    last_exit: int | None
    started_at: float
    is_failing: bool


class Supervisor:
    """Keeps processes alive. All of them end with it."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: dict[str, _Child] = {}

    def ensure(self, spec: ProcessSpec) -> None:
        """Have *spec* run; nothing happens when a process of that name is supervised already. Idempotent."""
        if spec.name not in self._children:
            child = self._children[spec.name] = _Child(spec, self._logs / f"{spec.name}.log")
            child.task = asyncio.create_task(child.keep_alive(), name=f"supervise {spec.name}")

    async def stop(self, name: str, grace_s: float = GRACE_S) -> None:
        """End the process of that name: SIGTERM, and SIGKILL when it has not left within *grace_s*. Idempotent."""
        child = self._children.get(name)
        if child is not None:
            await child.stop(grace_s)
            self._children.pop(name, None)

    async def stop_all(self, last: Sequence[str] = ()) -> None:
        """End everything, the processes named in *last* after all others, in that order."""
        first = [name for name in self._children if name not in last]
        await asyncio.gather(*(self.stop(name) for name in first))
        for name in last:
            await self.stop(name)

    def list(self) -> list[ProcessStatus]:
        """Describe all supervised processes."""
        return [child.status() for child in self._children.values()]


class _Child:
    def __init__(self, spec: ProcessSpec, log: Path) -> None:
        self._spec, self._log = spec, log
        self._process: asyncio.subprocess.Process | None = None
        self._is_wanted = True
        self._restarts, self._started_at, self._began, self._pause_s = 0, 0.0, 0.0, FIRST_PAUSE_S
        self._last_exit: int | None = None
        self.task: asyncio.Task[None] | None = None

    async def keep_alive(self) -> None:
        while not self._is_stopping():
            try:
                code = await self._live()
            except OSError as error:  # no such program, no room for its log, too many processes: later may be better
                logger.warning("process not started", extra={"child": self._spec.name, "error": str(error)})
                code = NOT_STARTED
            if self._is_stopping():
                return
            self._last_exit = code
            self._restarts += 1
            if time.monotonic() - self._began > STABLE_S:
                self._pause_s = FIRST_PAUSE_S
            logger.warning("process died", extra={"child": self._spec.name, "exit": code, "again_in_s": self._pause_s})
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    def _is_stopping(self) -> bool:
        return not self._is_wanted

    async def _live(self) -> int:
        self._rotate()
        self._started_at, self._began = time.time(), time.monotonic()
        environment = {**child_environment(), **self._spec.environment}
        descriptors: tuple[int, ...] = ()
        if self._spec.listener is not None:
            descriptors = (self._spec.listener.fileno(),)
            environment[LISTEN_FD] = str(descriptors[0])
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._spec.argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, pass_fds=descriptors, start_new_session=True,
            )  # fmt: skip
        code = await self._process.wait()
        self._process = None
        return code

    async def stop(self, grace_s: float) -> None:
        self._is_wanted = False
        process = self._process
        if process is not None:
            self._signal(process, signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), grace_s)
            except TimeoutError:
                logger.warning("process did not leave in time", extra={"child": self._spec.name})
                self._signal(process, signal.SIGKILL)
                await process.wait()
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    def status(self) -> ProcessStatus:
        return ProcessStatus(
            name=self._spec.name,
            pid=self._process.pid if self._process is not None else 0,
            restarts=self._restarts,
            last_exit=self._last_exit,
            started_at=self._started_at,
            is_failing=self._restarts > 0 and self._pause_s > 4 * FIRST_PAUSE_S,
        )

    def _rotate(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._log.stat().st_size > LOG_BYTES:
                self._log.replace(self._log.with_suffix(".log.1"))

    @staticmethod
    def _signal(process: asyncio.subprocess.Process, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
