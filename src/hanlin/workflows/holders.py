"""Who holds a lease, named so that others on the same machine can see that it died."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def new_holder() -> str:
    """Return a name for this process: where it runs, its process id and start time, and something random."""
    return f"{_place()}/{os.getpid()}/{_started(os.getpid())}/{secrets.token_hex(4)}"


def is_gone(holder: str) -> bool:
    """
    Whether *holder* certainly lives no more.

    Only known for processes of this machine since it was switched on, and of this process namespace; for others
    their lease has to run out.
    """
    place, _, rest = holder.partition("/")
    pid, _, rest = rest.partition("/")
    started, _, _ = rest.partition("/")
    return place == _place() and pid.isdigit() and _started(int(pid)) != started


def _place() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    if not boot.exists():
        return f"unknown-{os.getpid()}"
    namespace = Path("/proc/self/ns/pid").readlink().name if Path("/proc/self/ns/pid").is_symlink() else ""
    return f"{boot.read_text().strip()}-{namespace}"


def _started(pid: int) -> str:
    """Return the start time of *pid* in clock ticks (proc(5), stat field 22), or an empty text when it is not there."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X"} else fields[19]
