"""Turns what gateways report into series: once a second, for charts, rules and the autoscaler."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from hanlin.monitoring.rates import bucket_increases, increase, increases, quantile
from hanlin.monitoring.series import SeriesStore
from hanlin.monitoring.vocabulary import GATEWAY, SeriesKey
from hanlin.telemetry import SECONDS_BOUNDS
from hanlin.wire import DeploymentReport, GatewayReport, HistogramReport

WINDOW_S = 5.0  # rates and quantiles are over this long: calm enough to read, quick enough to act on
SILENT_AFTER_S = 3.0
NOT_OUR_FAULT = frozenset(
    {
        "ok",
        "body_too_large",
        "client_closed",
        "forbidden",
        "input_empty",
        "invalid_input",
        "malformed_json",
        "malformed_request",
        "model_not_found",
        "rate_limited",
        "text_too_long",
        "too_large",
        "too_many_texts",
    }
)  # outcomes as gateways count them: "ok" or the error's code; a code that is not here counts as a failure

Look = Mapping[str, GatewayReport]


@dataclass(slots=True)
class _Sum:
    """What all gateways did for one deployment over the window."""

    outcomes: dict[str, float] = field(default_factory=dict)
    texts: float = 0.0
    tokens: float = 0.0
    queued: int = 0
    in_flight: int = 0
    queue: list[int] = field(default_factory=lambda: [0] * (len(SECONDS_BOUNDS) + 1))
    compute: list[int] = field(default_factory=lambda: [0] * (len(SECONDS_BOUNDS) + 1))
    total: list[int] = field(default_factory=lambda: [0] * (len(SECONDS_BOUNDS) + 1))


class Sampler:
    """
    Holds the latest report of each gateway and makes one point of every series a second out of them.

    Not safe to share between threads: observe and tick belong to one event loop.
    """

    def __init__(self, store: SeriesStore, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._reports: dict[str, tuple[float, GatewayReport]] = {}
        self._looks: deque[tuple[float, Look]] = deque()
        self._values: Mapping[SeriesKey, float] = {}

    def observe(self, report: GatewayReport) -> None:
        """Take note of what a gateway says; the latest counts."""
        self._reports[report.gateway] = (self._clock(), report)

    def tick(
        self, wanted: Mapping[str, int] | None = None, extra: Mapping[SeriesKey, float] | None = None
    ) -> Mapping[SeriesKey, float]:
        """
        Make the points of this second, keep them, and return them.

        *wanted* names every deployment with its wanted replicas, so that one that no gateway knows shows zero ready
        replicas; *extra* are figures that others know (restarts, the host's load).
        """
        now = self._clock()
        self._reports = {name: seen for name, seen in self._reports.items() if seen[0] > now - SILENT_AFTER_S}
        look = {name: report for name, (_, report) in self._reports.items()}
        while len(self._looks) > 1 and self._looks[1][0] <= now - WINDOW_S:
            self._looks.popleft()
        earlier_at, earlier = self._looks[0] if self._looks else (now, {})
        self._looks.append((now, look))
        self._values = {**values_of(earlier, look, now - earlier_at, wanted or {}), **(extra or {})}
        self._store.append(self._values, now)
        return self._values

    @property
    def values(self) -> Mapping[SeriesKey, float]:
        """The points of the last second."""
        return self._values

    def figures(self, subject: str) -> dict[str, float]:
        """Return the latest value of each series of *subject*."""
        return {key.name: value for key, value in self._values.items() if key.subject == subject}


def values_of(earlier: Look, now: Look, span_s: float, wanted: Mapping[str, int]) -> dict[SeriesKey, float]:
    """
    Return all points that follow from two looks at the gateways, *span_s* seconds apart. Pure.

    Gauges are those of the later look. Rates and quantiles need both: a gateway that is new to us shows none yet,
    unless it started in between; quantiles are left out where nothing was answered.
    """
    names = {report.deployment for gateway in now.values() for report in gateway.deployments} | wanted.keys()
    values: dict[SeriesKey, float] = {}
    for name in sorted(names):
        values |= _keyed(name, _activity(_summed(name, earlier, now, span_s), span_s))
        values |= _keyed(name, _replicas(name, now.values(), wanted.get(name)))
    gateway = {
        "gateways_live": len(now),
        "memory_bytes": sum(report.memory_bytes for report in now.values()),
        "ledger_size": sum(report.ledger.size for report in now.values()),
    }
    return values | _keyed(GATEWAY, gateway)


def _keyed(subject: str, figures: Mapping[str, float | None]) -> dict[SeriesKey, float]:
    return {SeriesKey(name, subject): float(value) for name, value in figures.items() if value is not None}


def _summed(name: str, earlier: Look, now: Look, span_s: float) -> _Sum:
    total = _Sum()
    for gateway, report in now.items():
        if (mine := _of(report, name)) is None:
            continue
        total.queued += mine.queued
        total.in_flight += mine.in_flight
        before = earlier.get(gateway)
        if before is not None and before.started_at == report.started_at:
            _add(total, _of(before, name) or _nothing(name), mine)
        elif report.started_at >= report.at - span_s:
            _add(total, _nothing(name), mine)
    return total


def _add(total: _Sum, before: DeploymentReport, after: DeploymentReport) -> None:
    for outcome, count in increases(before.requests_total, after.requests_total).items():
        total.outcomes[outcome] = total.outcomes.get(outcome, 0.0) + count
    total.texts += increase(before.texts_total, after.texts_total)
    total.tokens += increase(before.tokens_total, after.tokens_total)
    total.queue = _more(total.queue, before.queue_s, after.queue_s)
    total.compute = _more(total.compute, before.compute_s, after.compute_s)
    total.total = _more(total.total, before.total_s, after.total_s)


def _more(counts: list[int], before: HistogramReport, after: HistogramReport) -> list[int]:
    return [a + b for a, b in zip(counts, bucket_increases(before.counts, after.counts), strict=True)]


def _activity(total: _Sum, span_s: float) -> dict[str, float | None]:
    requests = sum(total.outcomes.values())
    failed = sum(count for outcome, count in total.outcomes.items() if outcome not in NOT_OUR_FAULT)
    return {
        "requests_per_s": requests / span_s if span_s else 0.0,
        "texts_per_s": total.texts / span_s if span_s else 0.0,
        "tokens_per_s": total.tokens / span_s if span_s else 0.0,
        "error_ratio": failed / requests if requests else 0.0,
        "latency_p50_ms": _ms(total.total, 0.5),
        "latency_p95_ms": _ms(total.total, 0.95),
        "latency_p99_ms": _ms(total.total, 0.99),
        "compute_p50_ms": _ms(total.compute, 0.5),
        "compute_p99_ms": _ms(total.compute, 0.99),
        "queue_p99_ms": _ms(total.queue, 0.99),
        "in_flight": total.in_flight,
        "queued": total.queued,
    }


def _ms(counts: list[int], q: float) -> float | None:
    seconds = quantile(SECONDS_BOUNDS, counts, q)
    return None if seconds is None else seconds * 1000


def _replicas(name: str, reports: Iterable[GatewayReport], wanted: int | None) -> dict[str, float | None]:
    ready = {
        replica.id: replica
        for report in reports
        for replica in report.replicas
        if replica.deployment == name and replica.state == "ready"
    }
    starts = [replica.start_s for replica in ready.values() if replica.start_s > 0]
    return {
        "replicas_ready": len(ready),
        "replicas_wanted": wanted,
        "replica_start_s": sum(starts) / len(starts) if starts else None,
    }


def _of(report: GatewayReport, name: str) -> DeploymentReport | None:
    return next((mine for mine in report.deployments if mine.deployment == name), None)


def _nothing(name: str) -> DeploymentReport:
    empty = HistogramReport(counts=[0] * (len(SECONDS_BOUNDS) + 1), sum=0.0)
    return DeploymentReport(name, 0, 0, {}, 0, 0, empty, empty, empty)
