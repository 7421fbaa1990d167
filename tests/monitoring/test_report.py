from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hanlin.domain import (
    Deployment,
    DeploymentName,
    DeploymentSpec,
    Digest,
    Evidence,
    EvidenceId,
    ModelName,
    ModelVersion,
    Promotion,
    PromotionId,
    PromotionState,
    VersionFormat,
)
from hanlin.monitoring import ReportFacts, SeriesSummary, Uptime, Usage, deployment_report

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MODEL = ModelName("reviews")


def version(number: int, age: timedelta) -> ModelVersion:
    return ModelVersion(
        model=MODEL,
        number=number,
        digest=Digest("sha256:0"),
        format=VersionFormat.ONNX,
        precision="int8",
        size_bytes=1,
        created_at=NOON - age,
        created_by="ann",
        labels=("a", "b"),
        max_length=64,
    )


def evidence(name: str, number: int, accuracy: float, age: timedelta) -> Evidence:
    figures: dict[str, Any] = {"accuracy": accuracy, "macro_f1": 0.8, "n": 2000, "confusion": [[1, 2]]}
    return Evidence(
        id=EvidenceId(name), model=MODEL, version=number, kind="quality", figures=figures, created_at=NOON - age
    )


def promotion(number: int, age: timedelta) -> Promotion:
    return Promotion(
        id=PromotionId(f"p{number}"),
        model=MODEL,
        version=number,
        alias="champion",
        requested_by="ann",
        requested_at=NOON - age,
        policy="",
    ).moved(PromotionState.APPROVED, by="bob", at=NOON - age)


SERIES = {
    "compute_p50_ms": SeriesSummary(count=9, average=3.21, maximum=9, last=3),
    "latency_p99_ms": SeriesSummary(count=9, average=20, maximum=50, last=3),
    "requests_per_s": SeriesSummary(count=9, average=12, maximum=80, last=3),
    "replica_start_s": SeriesSummary(count=9, average=0.5, maximum=0.9, last=0.4),
    "replica_restarts": SeriesSummary(count=9, average=1, maximum=2, last=2),
}
FACTS = ReportFacts(
    deployment=Deployment(
        name=DeploymentName("reviews"), release=1, spec=DeploymentSpec(model=MODEL), created_at=NOON, version=2
    ),
    versions=[version(1, timedelta(days=40)), version(2, timedelta(days=2)), version(3, timedelta(days=1))],
    evidence=[
        evidence("e1", 1, 0.5, timedelta(hours=1)),
        evidence("e2", 2, 0.86, timedelta(hours=3)),
        evidence("e3", 2, 0.87, timedelta(hours=2)),
    ],
    promotions=[promotion(1, timedelta(days=39)), promotion(2, timedelta(days=1))],
    summary=SERIES.get,
    usage=Usage(requests=100, succeeded=99, texts=150, tokens=3000, by_key={"k1": 60, "k2": 40}),
    uptime=Uptime(checks=200, healthy=199),
    training_started_at=NOON - timedelta(days=1, hours=2),
    window_s=86_400,
)


class TestDeploymentReport:
    def test_gives_all_eight_figures_of_what_is_served(self) -> None:
        """Accuracy is that of the served version's newest evidence; every figure is there."""
        report = deployment_report(FACTS, NOON)

        assert report.accuracy["accuracy"] == 0.87
        assert report.accuracy["evidence"] == "e3"
        assert report.inference_latency == {"compute_p50_ms": 3.21, "compute_p99_ms": None}
        assert report.throughput["requests_per_s_peak"] == 80
        assert report.end_to_end_time["latency_p99_ms"] == 20
        assert report.start_time == {"replica_start_s": 0.4, "replica_start_s_longest": 0.9}
        assert report.iteration_efficiency == {"lead_time_s": 7200.0, "versions_30_days": 2, "promotions_30_days": 1}
        assert report.stability["success_ratio"] == 0.99
        assert report.stability["probe_uptime_ratio"] == 0.995
        assert report.usage["by_key"] == {"k1": 60, "k2": 40}

    def test_says_none_where_nothing_is_known(self) -> None:
        """A deployment that serves nothing yet has a report without invented figures."""
        facts = replace(
            FACTS,
            deployment=replace(FACTS.deployment, version=None),
            summary=lambda _: None,
            usage=Usage(),
            uptime=Uptime(),
        )

        report = deployment_report(facts, NOON)

        assert report.accuracy == {"accuracy": None}
        assert report.stability["success_ratio"] is None
        assert report.iteration_efficiency["lead_time_s"] is None
        assert report.start_time["replica_start_s"] is None

    def test_is_plain_data(self) -> None:
        """The report can be written as JSON as it is."""
        assert json.loads(json.dumps(deployment_report(FACTS, NOON).as_dict()))["usage"]["requests"] == 100
