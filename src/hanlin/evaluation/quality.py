"""Quality with its uncertainty: figures on held-out text, each with a bootstrap confidence interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanlin.corpora import iter_rows
from hanlin.domain import InvalidInputError, Reporter
from hanlin.evaluation.predict import predict_logits

RESAMPLES = 1000
SEED = 20260101
LEVEL = 95.0
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityEvidence:
    """How good a classifier is on *n* texts; *_low* and *_high* bound 95 % of the bootstrap resamples."""

    split: str
    n: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    macro_f1: float
    macro_f1_low: float
    macro_f1_high: float
    per_label: dict[str, dict[str, float]]
    confusion: list[list[int]]  # rows: truth, columns: prediction
    labels: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the evidence as plain data."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def evaluate(servable: Path, corpus: Path, *, split: str = "test", reporter: Reporter) -> QualityEvidence:
    """Measure *servable* on a split of *corpus* that no training step has seen."""
    rows = list(iter_rows(corpus, split))
    if not rows:
        raise InvalidInputError(f"split {split!r} is empty", code="corpus_empty")
    logits, labels = predict_logits(
        servable, [row.text for row in rows], lambda done: reporter.progress(done, len(rows), "text")
    )
    if unknown := {row.label for row in rows} - set(labels):
        raise InvalidInputError(
            f"the model does not know the label {min(map(str, unknown))!r}",
            code="labels_differ",
            hint=f"its labels are {', '.join(labels)}",
        )
    truth = np.array([labels.index(row.label or "") for row in rows])
    evidence = judge_predictions(truth, logits.argmax(1), labels, split=split)
    reporter.log("evaluated", accuracy=evidence.accuracy, macro_f1=evidence.macro_f1, n=evidence.n)
    return evidence


def judge_predictions(truth: Ints, predicted: Ints, labels: Sequence[str], *, split: str) -> QualityEvidence:
    """Return the figures of *predicted* against *truth* (label numbers). Pure: the same input, the same intervals."""
    table = confusion(truth, predicted, len(labels))
    random = np.random.default_rng(SEED)
    accuracies, f1s = np.empty(RESAMPLES), np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        chosen = random.integers(0, len(truth), len(truth))
        resampled = confusion(truth[chosen], predicted[chosen], len(labels))
        accuracies[index], f1s[index] = np.trace(resampled) / len(truth), _f1(resampled).mean()
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(accuracies, [tail, 100 - tail])
    f1_low, f1_high = np.percentile(f1s, [tail, 100 - tail])
    return QualityEvidence(
        split=split,
        n=len(truth),
        accuracy=float(np.trace(table) / len(truth)),
        accuracy_low=float(low),
        accuracy_high=float(high),
        macro_f1=float(_f1(table).mean()),
        macro_f1_low=float(f1_low),
        macro_f1_high=float(f1_high),
        per_label=_per_label(table, labels),
        confusion=table.tolist(),
        labels=list(labels),
    )


def confusion(truth: Ints, predicted: Ints, labels: int) -> Ints:
    """Return how often each label (row) was called each label (column)."""
    return np.bincount(truth * labels + predicted, minlength=labels * labels).reshape(labels, labels).astype(np.int64)


def _f1(table: Ints) -> NDArray[np.float64]:
    hits = np.diag(table).astype(float)
    return np.asarray(2 * hits / np.maximum(1, table.sum(0) + table.sum(1)))


def _per_label(table: Ints, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    f1 = _f1(table)
    return {
        label: {
            "precision": float(table[i, i] / max(1, table[:, i].sum())),
            "recall": float(table[i, i] / max(1, table[i].sum())),
            "f1": float(f1[i]),
            "n": int(table[i].sum()),
        }
        for i, label in enumerate(labels)
    }
