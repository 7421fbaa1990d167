"""Waiting for what other processes do: by looking, until a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path


async def until(condition: Callable[[], object], within_s: float = 15.0) -> float:
    """Wait until *condition* holds and return the seconds that it took; fail when it does not in time."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < within_s, "it did not happen in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


def is_alive(pid: int) -> bool:
    """Say whether the process runs; one that has died and was not waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}
