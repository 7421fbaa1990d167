"""Evaluation: how good, how sure, how fast; through the engine that serves."""

from hanlin.evaluation.predict import measure_latency, predict_logits
from hanlin.evaluation.quality import QualityEvidence, confusion, evaluate, judge_predictions, label_numbers

__all__ = [
    "QualityEvidence",
    "confusion",
    "evaluate",
    "judge_predictions",
    "label_numbers",
    "measure_latency",
    "predict_logits",
]
