"""Logs and figures of every process."""

from hanlin.telemetry.logs import JsonFormatter, configure_logging
from hanlin.telemetry.meters import (
    SECONDS_BOUNDS,
    Collector,
    CollectorRegistry,
    Histogram,
    Metric,
    memory_bytes,
    process_age_s,
    render_metrics,
)

__all__ = [
    "SECONDS_BOUNDS",
    "Collector",
    "CollectorRegistry",
    "Histogram",
    "JsonFormatter",
    "Metric",
    "configure_logging",
    "memory_bytes",
    "process_age_s",
    "render_metrics",
]
