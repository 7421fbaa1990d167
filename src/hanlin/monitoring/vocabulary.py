"""The names of the series: one vocabulary for charts, rules and reports."""

from __future__ import annotations

from typing import NamedTuple


class SeriesKey(NamedTuple):
    """One series: what is measured, and of whom (a deployment, ``gateway`` or ``host``)."""

    name: str
    subject: str


GATEWAY = "gateway"
HOST = "host"

DEPLOYMENT_SERIES = (
    "requests_per_s",
    "texts_per_s",
    "tokens_per_s",
    "error_ratio",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "compute_p50_ms",
    "compute_p99_ms",
    "queue_p99_ms",
    "in_flight",
    "queued",
    "replicas_ready",
    "replicas_wanted",
    "replica_start_s",
    "replica_restarts",
)
GATEWAY_SERIES = ("gateways_live", "memory_bytes", "ledger_size")
HOST_SERIES = ("cpu_ratio", "memory_ratio")
SERIES_NAMES = frozenset((*DEPLOYMENT_SERIES, *GATEWAY_SERIES, *HOST_SERIES))
