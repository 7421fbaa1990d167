"""What a gateway counts, per deployment: for reports to control and for /metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hanlin.telemetry import SECONDS_BOUNDS, Collector, Histogram, Metric
from hanlin.wire import DeploymentReport, GatewayReport, HistogramReport

BOUNDS = [*map(str, SECONDS_BOUNDS), "+Inf"]


@dataclass(slots=True)
class Figures:
    """Counters of one deployment since the gateway started; they outlive its versions."""

    requests: dict[str, int] = field(default_factory=dict)
    texts: int = 0
    tokens: int = 0
    batches: int = 0
    batch_texts: int = 0
    queue_s: Histogram = field(default_factory=Histogram)
    compute_s: Histogram = field(default_factory=Histogram)
    total_s: Histogram = field(default_factory=Histogram)

    def count(self, outcome: str) -> None:
        """Count one request by how it ended."""
        self.requests[outcome] = self.requests.get(outcome, 0) + 1

    def report(self, deployment: str, *, queued: int, in_flight: int) -> DeploymentReport:
        """Return the figures as a gateway reports them."""
        return DeploymentReport(
            deployment=deployment,
            queued=queued,
            in_flight=in_flight,
            requests_total=dict(self.requests),
            texts_total=self.texts,
            tokens_total=self.tokens,
            batches_total=self.batches,
            batch_texts_total=self.batch_texts,
            queue_s=_frozen(self.queue_s),
            compute_s=_frozen(self.compute_s),
            total_s=_frozen(self.total_s),
        )


def _frozen(histogram: Histogram) -> HistogramReport:
    return HistogramReport(counts=list(histogram.counts), sum=histogram.sum)


class ReportCollector(Collector):
    """Shows a gateway's report in the metric vocabulary of Hanlin."""

    def __init__(self, report: Callable[[], GatewayReport]) -> None:
        self._report = report

    def collect(self) -> Iterable[Metric]:
        """Return the families of the page."""
        report = self._report()
        yield from _of_deployments(report.deployments)
        yield from _of_replicas(report)
        yield _gauge("audit_tree_size", "Records in this process's log.", report.ledger.size)
        yield _gauge("audit_failed", "1 while the log takes no records.", int(report.ledger.failed))
        yield _gauge("process_resident_memory_bytes", "Resident memory.", report.memory_bytes)
        yield _gauge("process_start_time_seconds", "Start of the process.", report.started_at)
        yield _gauge("snapshot_revision", "Snapshot in force.", report.revision)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are checked when the page is made."""
        return ()


def _of_deployments(reports: Iterable[DeploymentReport]) -> Iterable[Metric]:
    requests = Metric("inference_requests", "Requests by outcome.", "counter")
    counters = {
        "texts": Metric("inference_texts", "Texts judged.", "counter"),
        "tokens": Metric("inference_tokens", "Tokens judged.", "counter"),
        "batches": Metric("inference_batches", "Batches sent to replicas.", "counter"),
        "batch_texts": Metric("inference_batch_texts", "Texts in those batches.", "counter"),
    }
    gauges = {
        "queued": Metric("inference_queued", "Texts waiting.", "gauge"),
        "in_flight": Metric("inference_in_flight", "Texts at replicas.", "gauge"),
    }
    histograms = {
        "queue": Metric("inference_queue_seconds", "From arrival to the engine.", "histogram"),
        "compute": Metric("inference_compute_seconds", "In the engine, per batch.", "histogram"),
        "total": Metric("inference_total_seconds", "From arrival to the record.", "histogram"),
    }
    for report in reports:
        labels = {"deployment": report.deployment}
        for outcome, count in report.requests_total.items():
            requests.add_sample("inference_requests_total", {**labels, "outcome": outcome}, count)
        for name, family in counters.items():
            family.add_sample(f"{family.name}_total", labels, getattr(report, f"{name}_total"))
        for name, family in gauges.items():
            family.add_sample(family.name, labels, getattr(report, name))
        for name, family in histograms.items():
            _add(family, labels, getattr(report, f"{name}_s"))
    return [requests, *counters.values(), *gauges.values(), *histograms.values()]


def _of_replicas(report: GatewayReport) -> Iterable[Metric]:
    counts = Metric("replica_count", "Replicas by state.", "gauge")
    loading = Metric("model_load_seconds", "From process start to ready, per replica.", "gauge")
    states: dict[tuple[str, str], int] = {}
    for replica in report.replicas:
        states[replica.deployment, replica.state] = states.get((replica.deployment, replica.state), 0) + 1
        loading.add_sample(
            "model_load_seconds", {"deployment": replica.deployment, "replica": replica.id}, replica.start_s
        )
    for (deployment, state), count in states.items():
        counts.add_sample("replica_count", {"deployment": deployment, "state": state}, count)
    return [counts, loading]


def _gauge(name: str, meaning: str, value: float) -> Metric:
    family = Metric(name, meaning, "gauge")
    family.add_sample(name, {}, value)
    return family


def _add(family: Metric, labels: dict[str, str], report: HistogramReport) -> None:
    running = 0
    for bound, count in zip(BOUNDS, report.counts, strict=True):
        running += count
        family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, running)
    family.add_sample(f"{family.name}_count", labels, running)
    family.add_sample(f"{family.name}_sum", labels, report.sum)
