"""A job's process: its own session, low priority, one per task folder, gone when it should be gone."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hanlin.fleet import child_environment
from hanlin.workflows.folder import TaskFolder

LONGEST_LINE = 4 * 1024 * 1024
OUT_OF_MEMORY_SCORE = 500  # when memory runs out the kernel takes long work first, never what serves


class JobProcess:
    """
    One job as a child process that leads its own session.

    A job calls fleet.die_with_parent first of all, so it ends with its worker. The lock on ``job.lock`` is inherited
    by the job, so it lasts exactly as long as the job or a child of it lives, whatever becomes of the worker.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(
        cls, argv: Sequence[str], folder: TaskFolder, *, niceness: int = 0, environ: Mapping[str, str] | None = None
    ) -> JobProcess:
        """Start *argv* once an earlier job that still lives in *folder* is killed; raise OSError if that fails."""
        await asyncio.to_thread(folder.create)
        lock = await asyncio.to_thread(_take_over, folder.lock)
        output = os.open(folder.output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                env={**child_environment(), **(environ or {})},
                start_new_session=True,
                pass_fds=(lock,),
                limit=LONGEST_LINE,
            )
            os.pwrite(lock, str(process.pid).encode(), 0)
        finally:
            os.close(lock)
            os.close(output)
        _yield_to_others(process.pid, niceness)
        return cls(process)

    async def read_line(self) -> bytes:
        """Return the next line the job wrote, empty at the end; a line that is far too long is dropped."""
        stream = self._process.stdout
        while stream is not None:
            with suppress(ValueError):
                return await stream.readline()
        return b""

    async def wait(self) -> int:
        """Wait until the job ends; return its exit status, negative for a signal."""
        return await self._process.wait()

    async def stop(self, grace_s: float) -> None:
        """Ask the job to end; kill what is left of its session after *grace_s*."""
        _signal_group(self.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), grace_s)
        self.kill()

    def kill(self) -> None:
        """End the job and every process it started, now. Idempotent."""
        _signal_group(self.pid, signal.SIGKILL)


def _take_over(path: Path, patience_s: float = 5.0) -> int:
    """Return the locked file; kill the job that holds it, if any."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(file)
                raise TimeoutError("an earlier job of this task cannot be ended") from None
            if holder := os.pread(file, 20, 0):
                _signal_group(int(holder), signal.SIGKILL)
            time.sleep(0.02)
        else:
            os.ftruncate(file, 0)
            return file


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _yield_to_others(pid: int, niceness: int) -> None:
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(OUT_OF_MEMORY_SCORE))
