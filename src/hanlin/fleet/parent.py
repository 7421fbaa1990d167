"""Children die with their parent: nothing of a dead platform keeps running."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PARENT = "HANLIN_PARENT_PID"


def die_with_parent() -> None:
    """
    Have the kernel kill this process when the process that started it dies (Linux, prctl(2)).

    To be called first thing in a child whose environment names its parent; a parent that died before the call is
    noticed. Does nothing in a process that was started by hand.
    """
    parent = os.environ.pop(PARENT, "")
    if not parent or sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != int(parent):
        os._exit(1)


def child_environment() -> dict[str, str]:
    """Return the environment for a child of this process, which names it as the parent."""
    return {**os.environ, PARENT: str(os.getpid())}
