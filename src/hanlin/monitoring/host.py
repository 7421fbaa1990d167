"""How busy the machine is."""

from __future__ import annotations

import psutil

from hanlin.monitoring.vocabulary import HOST, SeriesKey


def host_values() -> dict[SeriesKey, float]:
    """Return the share of the processors used since the last call (0 at the first), and of the memory."""
    return {
        SeriesKey("cpu_ratio", HOST): psutil.cpu_percent(interval=None) / 100,
        SeriesKey("memory_ratio", HOST): psutil.virtual_memory().percent / 100,
    }
