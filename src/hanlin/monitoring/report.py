"""The eight figures of a deployment: what it is worth, how fast, how steady, and for whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from hanlin.domain import Deployment, Evidence, ModelVersion, Promotion, PromotionState
from hanlin.monitoring.series import SeriesSummary

PERIOD = timedelta(days=30)
Figures: TypeAlias = Mapping[str, float | int | str | None]
Summary: TypeAlias = Callable[[str], SeriesSummary | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was asked of a deployment over the window; by key: requests per key id."""

    requests: int = 0
    succeeded: int = 0
    texts: int = 0
    tokens: int = 0
    by_key: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uptime:
    """How many periodic checks of a deployment went well over the window."""

    checks: int = 0
    healthy: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """
    Everything a deployment's report follows from.

    *versions*, *evidence* and *promotions* are those of the deployment's model; *summary* gives a series of the
    deployment over the window by name; *training_started_at* belongs to the run that the served version came from.
    """

    deployment: Deployment
    versions: Sequence[ModelVersion]
    evidence: Sequence[Evidence]
    promotions: Sequence[Promotion]
    summary: Summary
    usage: Usage
    uptime: Uptime
    training_started_at: datetime | None
    window_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentFigures:
    """The eight figures of one deployment; a figure that is not known yet is None."""

    deployment: str
    model: str
    version: int | None
    at: datetime
    window_s: float
    accuracy: Figures
    inference_latency: Figures
    throughput: Figures
    end_to_end_time: Figures
    start_time: Figures
    iteration_efficiency: Figures
    stability: Figures
    usage: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain data for JSON."""
        return asdict(self) | {"at": self.at.isoformat()}


def deployment_report(facts: ReportFacts, now: datetime) -> DeploymentFigures:
    """Return the eight figures that follow from *facts*. Pure: the same facts give the same report."""
    return DeploymentFigures(
        deployment=facts.deployment.name,
        model=facts.deployment.spec.model,
        version=facts.deployment.version,
        at=now,
        window_s=facts.window_s,
        accuracy=_accuracy(facts),
        inference_latency=_averages(facts.summary, "compute_p50_ms", "compute_p99_ms"),
        throughput=_throughput(facts.summary),
        end_to_end_time=_averages(facts.summary, "latency_p50_ms", "latency_p95_ms", "latency_p99_ms"),
        start_time=_start_time(facts.summary),
        iteration_efficiency=_iteration(facts, now),
        stability=_stability(facts),
        usage=asdict(facts.usage),
    )


def _accuracy(facts: ReportFacts) -> Figures:
    quality = [e for e in facts.evidence if e.version == facts.deployment.version and e.kind == "quality"]
    if not quality:
        return {"accuracy": None}
    latest = max(quality, key=lambda e: e.created_at)
    plain = {name: value for name, value in latest.figures.items() if isinstance(value, (int, float, str))}
    return {"accuracy": None, **plain, "evidence": latest.id}


def _averages(summary: Summary, *names: str) -> Figures:
    found = {name: summary(name) for name in names}
    return {name: None if s is None else round(s.average, 3) for name, s in found.items()}


def _throughput(summary: Summary) -> Figures:
    requests, texts = summary("requests_per_s"), summary("texts_per_s")
    return {
        "requests_per_s": None if requests is None else round(requests.average, 3),
        "requests_per_s_peak": None if requests is None else round(requests.maximum, 3),
        "texts_per_s": None if texts is None else round(texts.average, 3),
        "texts_per_s_peak": None if texts is None else round(texts.maximum, 3),
    }


def _start_time(summary: Summary) -> Figures:
    starts = summary("replica_start_s")
    if starts is None:
        return {"replica_start_s": None, "replica_start_s_longest": None}
    return {"replica_start_s": round(starts.last, 3), "replica_start_s_longest": round(starts.maximum, 3)}


def _iteration(facts: ReportFacts, now: datetime) -> Figures:
    """How long the served version took from the start of its training to its promotion, and how often that happens."""
    spec, since = facts.deployment.spec, now - PERIOD
    moves = [
        p
        for p in facts.promotions
        if p.state is PromotionState.APPROVED and p.alias == spec.alias and p.decided_at is not None
    ]
    served = [p.decided_at for p in moves if p.version == facts.deployment.version and p.decided_at is not None]
    begun = facts.training_started_at
    return {
        "lead_time_s": round((min(served) - begun).total_seconds(), 1) if served and begun is not None else None,
        "versions_30_days": sum(version.created_at >= since for version in facts.versions),
        "promotions_30_days": sum(p.decided_at is not None and p.decided_at >= since for p in moves),
    }


def _stability(facts: ReportFacts) -> Figures:
    usage, uptime = facts.usage, facts.uptime
    restarts, ready = facts.summary("replica_restarts"), facts.summary("replicas_ready")
    return {
        "success_ratio": usage.succeeded / usage.requests if usage.requests else None,
        "replica_restarts": 0 if restarts is None else int(restarts.maximum),
        "probe_uptime_ratio": uptime.healthy / uptime.checks if uptime.checks else None,
        "replicas_ready": None if ready is None else round(ready.average, 3),
    }
