"""Figures of a process: histograms with one set of bounds everywhere, memory, and the Prometheus page."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

__all__ = [
    "SECONDS_BOUNDS",
    "Collector",
    "CollectorRegistry",
    "Histogram",
    "Metric",
    "memory_bytes",
    "process_age_s",
    "render_metrics",
]

SECONDS_BOUNDS: tuple[float, ...] = (
    0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05,
    0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Histogram:
    """Counts of observations up to each bound (seconds), the last one without bound, and their sum."""

    bounds: Sequence[float] = SECONDS_BOUNDS
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


def memory_bytes(pid: int | str = "self") -> int:
    """Return the resident memory of a process, or 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0


def process_age_s() -> float:
    """Return the seconds since this process began (proc(5), Linux), interpreter start and imports included."""
    fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    began_s = int(fields[19]) / TICKS_PER_S
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began_s


def render_metrics(registry: CollectorRegistry) -> str:
    """Return the page of *registry* in the Prometheus text format."""
    return generate_latest(registry).decode()
