"""
Quality with its uncertainty: figures on held-out text, each with a 95 % confidence interval.

The accuracy's is Wilson's (1927): a closed form that stays wide where all of a few texts are right. The macro-F1's is
the middle of bootstrap resamples, drawn from a fixed seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanlin.corpora import Row, iter_rows
from hanlin.domain import InvalidInputError, Reporter
from hanlin.engines import read_servable
from hanlin.evaluation.predict import predict_logits

RESAMPLES = 1000
SEED = 20260101
Z = 1.959963984540054  # 97.5 % of a normal distribution lie below
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityEvidence:
    """
    How good a classifier is on *n* texts; *_low* and *_high* bound the 95 % confidence interval.

    The macro-F1 is the mean over the labels that occur in the truth or the predictions; a label that occurs in
    neither has no F1 and counts as 0 in *per_label* only.
    """

    split: str
    n: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    baseline_accuracy: float  # of always naming the label that is commonest here
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
    """
    Measure *servable* on a split of *corpus* that no training step has seen.

    Raises what label_numbers raises, before the model judges a single text.
    """
    rows = list(iter_rows(corpus, split))
    truth = label_numbers(rows, read_servable(servable).labels)
    logits, labels = predict_logits(
        servable, [row.text for row in rows], lambda done: reporter.progress(done, len(rows), "text")
    )
    evidence = judge_predictions(truth, logits.argmax(1), labels, split=split)
    reporter.log("evaluated", accuracy=evidence.accuracy, macro_f1=evidence.macro_f1, n=evidence.n)
    return evidence


def label_numbers(rows: Sequence[Row], labels: Sequence[str]) -> Ints:
    """
    Return the numbers of the rows' labels among those of a model.

    Raises InvalidInputError: ``corpus_empty`` without rows, ``corpus_not_labelled`` for rows without a label,
    ``labels_differ`` for a label that the model does not know.
    """
    if not rows:
        raise InvalidInputError("there are no texts to judge by", code="corpus_empty", hint="choose another split")
    found = {row.label for row in rows}
    if None in found:
        raise InvalidInputError(
            "there are texts without a label", code="corpus_not_labelled", hint="judge by a labelled corpus"
        )
    if unknown := found - set(labels):
        raise InvalidInputError(
            f"the model does not know the label {min(map(str, unknown))!r}",
            code="labels_differ",
            hint=f"its labels are {', '.join(labels)}",
        )
    number = {label: index for index, label in enumerate(labels)}
    return np.array([number[row.label or ""] for row in rows], dtype=np.int64)


def judge_predictions(truth: Ints, predicted: Ints, labels: Sequence[str], *, split: str) -> QualityEvidence:
    """Return the figures of *predicted* against *truth* (label numbers). Pure: the same input, the same intervals."""
    table = confusion(truth, predicted, len(labels))
    low, high = wilson_interval(int(np.trace(table)), len(truth))
    f1_low, f1_high = _f1_interval(truth, predicted, len(labels))
    return QualityEvidence(
        split=split,
        n=len(truth),
        accuracy=float(np.trace(table) / len(truth)),
        accuracy_low=low,
        accuracy_high=high,
        baseline_accuracy=float(table.sum(1).max() / len(truth)),
        macro_f1=_macro_f1(table),
        macro_f1_low=f1_low,
        macro_f1_high=f1_high,
        per_label=_per_label(table, labels),
        confusion=table.tolist(),
        labels=list(labels),
    )


def confusion(truth: Ints, predicted: Ints, labels: int) -> Ints:
    """Return how often each label (row) was called each label (column)."""
    return np.bincount(truth * labels + predicted, minlength=labels * labels).reshape(labels, labels).astype(np.int64)


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval for the share that *hits* of *n* stand for. Pure."""
    share, square = hits / n, Z * Z
    middle = (share + square / (2 * n)) / (1 + square / n)
    reach = Z / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach))


def _f1_interval(truth: Ints, predicted: Ints, labels: int) -> tuple[float, float]:
    random = np.random.default_rng(SEED)
    values = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        chosen = random.integers(0, len(truth), len(truth))
        values[index] = _macro_f1(confusion(truth[chosen], predicted[chosen], labels))
    low, high = np.percentile(values, [2.5, 97.5])
    estimate = _macro_f1(confusion(truth, predicted, labels))  # with many rare labels no resample has them all
    return min(estimate, float(low)), max(estimate, float(high))


def _macro_f1(table: Ints) -> float:
    occurs = table.sum(0) + table.sum(1) > 0
    return float(_f1(table)[occurs].mean())


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
