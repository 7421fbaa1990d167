"""
A data folder as after months of work, written without training anything: a tiny model with measurements, a corpus, a
task with curves, a promotion that waits. Every text that people may choose carries CANARY, so that a page that shows
one without escaping it gives itself away.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.tiny_model import build_servable

from hanlin.compose import Home
from hanlin.domain import (
    Alert,
    AlertId,
    AlertRuleId,
    Alias,
    CorpusName,
    CorpusVersion,
    Digest,
    Evidence,
    EvidenceId,
    Model,
    ModelName,
    ModelVersion,
    Promotion,
    PromotionId,
    PromotionState,
    Task,
    TaskId,
    TaskState,
    VersionFormat,
    new_id,
)
from hanlin.store import Store

CANARY = "<img src=x onerror=\"document.title='pwned'\">'\"</script>\u202e"
SHOWN = "<img src=x onerror="  # what must never be in a page as it is
NOW = datetime.now(UTC)
MODEL = ModelName("reviews")
LABELS = ("负面", f"正面{CANARY}")
POLICY = "accuracy_low >= 0.8 and agreement >= 0.99"


@dataclass
class Furniture:
    """What there is to look at."""

    task: str = field(default_factory=lambda: new_id("task"))
    failed_task: str = field(default_factory=lambda: new_id("task"))
    promotion: str = field(default_factory=lambda: new_id("promotion"))
    pending: str = field(default_factory=lambda: new_id("promotion"))


def furnish(data: Path) -> Furniture:
    """Fill the data folder and return what is in it."""
    furniture = Furniture()
    home = Home.at(data)
    store, artifacts = home.open_store(), home.artifacts()
    served = artifacts.put(build_servable(data.parent / "servable", labels=LABELS))
    text = artifacts.put(_corpus(data.parent / "corpus"))
    _add_corpus(store, text)
    _add_model(store, furniture, served)
    _add_promotions(store, furniture)
    _add_tasks(store, furniture, home.layout.tasks)
    store.alerts.add(
        Alert(
            id=AlertId(new_id("alert")),
            rule_id=AlertRuleId(new_id("rule")),
            rule_name=CANARY,
            subject=CANARY,
            value=3.0,
            severity="warning",
            fired_at=NOW,
            resolved_at=NOW,
        )
    )
    store.close()
    return furniture


def _corpus(folder: Path) -> Path:
    folder.mkdir(parents=True)
    rows = [{"text": f"很好{CANARY}{n}", "label": LABELS[n % 2]} for n in range(6)]
    for split in ("train", "validation", "test"):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def _add_corpus(store: Store, digest: Digest) -> None:
    by_label = dict.fromkeys(LABELS, 3)
    profile = {
        "rows": 18,
        "characters": 900,
        "lengths": {"max": 90, "p50": 40, "p90": 80, "p99": 88},
        "labels": by_label,
        "leakage": {"train/test": 0},
        "splits": {"test": by_label, "train": by_label, "validation": by_label},
        "source": {"rows": 20, "duplicates": 2, "label_conflicts": 0},
    }
    store.corpora.add(
        CorpusVersion(
            corpus=CorpusName("reviews"),
            number=1,
            digest=digest,
            kind="labelled",
            source=CANARY,
            licence=CANARY,
            rows=18,
            created_at=NOW,
            created_by=CANARY,
            splits={"test": 6, "train": 6, "validation": 6},
            labels=LABELS,
            profile=profile,
        )
    )


def _add_model(store: Store, furniture: Furniture, digest: Digest) -> None:
    store.models.add(
        Model(
            name=MODEL, task="classification", created_at=NOW, description=CANARY, owner=CANARY, tags={"team": CANARY}
        )
    )
    lineage = {"corpus": "reviews@1", "base": "e5-small", "task": furniture.task, "recipe": {"note": CANARY}}
    for number, format_, precision in (
        (1, VersionFormat.TRANSFORMERS, "fp32"),
        (2, VersionFormat.ONNX, "fp32"),
        (3, VersionFormat.ONNX, "int8"),
    ):
        store.versions.add(
            ModelVersion(
                model=MODEL,
                number=number,
                digest=digest,
                format=format_,
                precision=precision,
                size_bytes=52_466_260 // number,
                created_at=NOW + timedelta(seconds=number),
                created_by=CANARY,
                labels=LABELS,
                max_length=64,
                lineage=lineage if number == 1 else {**lineage, "parent": 1, "method": CANARY},
                tags={"note": CANARY},
            )
        )
        kind, figures = ("quality", _quality(number)) if number > 1 else ("training", {"validation_accuracy": 0.83})
        store.evidence.add(
            Evidence(
                id=EvidenceId(new_id("evidence")),
                model=MODEL,
                version=number,
                kind=kind,
                figures=figures,
                created_at=NOW,
            )
        )


def _quality(number: int) -> dict[str, Any]:
    return {
        "split": "test",
        "n": 2075,
        "accuracy": 0.83 + number / 1000,
        "accuracy_low": 0.81,
        "accuracy_high": 0.85,
        "macro_f1": 0.83,
        "macro_f1_low": 0.81,
        "macro_f1_high": 0.84,
        "agreement": 0.995,
        "latency_p50_ms": 3.4,
        "labels": list(LABELS),
        "confusion": [[951, 134], [213, 777]],
        "per_label": {label: {"precision": 0.8, "recall": 0.8, "f1": 0.8, "n": 1000} for label in LABELS},
    }


def _add_promotions(store: Store, furniture: Furniture) -> None:
    clauses = [{"text": "accuracy_low >= 0.8", "holds": True, "found": {"accuracy_low": 0.81}}]
    verdict = {"is_met": True, "clauses": clauses, "missing": []}
    approved = Promotion(
        id=PromotionId(furniture.promotion),
        model=MODEL,
        version=3,
        alias="champion",
        requested_by=CANARY,
        requested_at=NOW,
        policy=POLICY,
        verdict=verdict,
        state=PromotionState.APPROVED,
        decided_by="policy",
        decided_at=NOW,
        reason=CANARY,
    )
    pending = Promotion(
        id=PromotionId(furniture.pending),
        model=MODEL,
        version=2,
        alias="candidate",
        requested_by="somebody",
        requested_at=NOW,
        policy=POLICY,
        verdict=verdict,
    )
    store.promotions.add(approved)
    store.promotions.add(pending)
    store.aliases.add(Alias(model=MODEL, name="champion", version=3, promotion_id=approved.id, moved_at=NOW))


def _add_tasks(store: Store, furniture: Furniture, folder: Path) -> None:
    done = Task(
        id=TaskId(furniture.task),
        kind="train",
        params={"model": "reviews", "corpus": "reviews@1", "base": "e5-small", "recipe": {"note": CANARY}},
        created_by=CANARY,
        created_at=NOW,
        run_at=NOW,
        state=TaskState.SUCCEEDED,
        attempt=1,
        progress={"done": 40, "total": 40, "unit": "step", "message": CANARY},
        result={"versions": [{"version": 1}]},
        started_at=NOW - timedelta(minutes=3),
        finished_at=NOW,
    )
    failed = Task(
        id=TaskId(furniture.failed_task),
        kind="import",
        params={"corpus": "other", "source_note": CANARY},
        created_by="admin",
        created_at=NOW,
        run_at=NOW,
        state=TaskState.FAILED,
        attempt=3,
        error={"code": "corpus_empty", "message": CANARY, "hint": CANARY},
        started_at=NOW,
        finished_at=NOW,
    )
    for task in (done, failed):
        store.tasks.add(task)
    own = folder / done.id
    own.mkdir(parents=True)
    log = {"at": NOW.isoformat(), "message": "validated", "fields": {"note": CANARY}}
    (own / "log.jsonl").write_text(json.dumps(log) + "\n", encoding="utf-8")
    series = [[name, step, 1 / step] for step in range(1, 40) for name in ("train_loss", "learning_rate")]
    series += [[name, step, 0.8] for step in (10, 20, 30) for name in ("validation_loss", "validation_accuracy")]
    (own / "series.jsonl").write_text("".join(json.dumps(point) + "\n" for point in series), encoding="utf-8")
