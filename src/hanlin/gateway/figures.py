"""What a gateway counts, per deployment: for reports to control and for /metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from hanlin.telemetry import Collector, Histogram, Metric
from hanlin.wire import DeploymentReport, HistogramReport


@dataclass(slots=True)
class Figures:
    """Counters of one deployment since the gateway started."""

    requests: dict[str, int] = field(default_factory=dict)
    texts: int = 0
    tokens: int = 0
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
            queue_s=_frozen(self.queue_s),
            compute_s=_frozen(self.compute_s),
            total_s=_frozen(self.total_s),
        )


def _frozen(histogram: Histogram) -> HistogramReport:
    return HistogramReport(counts=list(histogram.counts), sum=histogram.sum)


class FiguresCollector(Collector):
    """Shows the reports of all deployments in the metric vocabulary of Hanlin."""

    def __init__(self, reports: Callable[[], Sequence[DeploymentReport]], bounds: Sequence[float]) -> None:
        self._reports, self._bounds = reports, bounds

    def collect(self) -> Iterable[Metric]:
        """Return the families of the page."""
        requests = Metric("inference_requests", "Requests by outcome.", "counter")
        texts = Metric("inference_texts", "Texts judged.", "counter")
        tokens = Metric("inference_tokens", "Tokens judged.", "counter")
        queued = Metric("inference_queued", "Texts waiting.", "gauge")
        histograms = {
            name: Metric(f"inference_{name}_seconds", f"Seconds: {name}.", "histogram")
            for name in ("queue", "compute", "total")
        }
        for report in self._reports():
            labels = {"deployment": report.deployment}
            for outcome, count in report.requests_total.items():
                requests.add_sample("inference_requests_total", {**labels, "outcome": outcome}, count)
            texts.add_sample("inference_texts_total", labels, report.texts_total)
            tokens.add_sample("inference_tokens_total", labels, report.tokens_total)
            queued.add_sample("inference_queued", labels, report.queued)
            for name, family in histograms.items():
                self._add(family, labels, getattr(report, f"{name}_s"))
        return [requests, texts, tokens, queued, *histograms.values()]

    def _add(self, family: Metric, labels: dict[str, str], report: HistogramReport) -> None:
        running = 0
        for bound, count in zip([*map(str, self._bounds), "+Inf"], report.counts, strict=True):
            running += count
            family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, running)
        family.add_sample(f"{family.name}_count", labels, running)
        family.add_sample(f"{family.name}_sum", labels, report.sum)
