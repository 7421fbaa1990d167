"""Compression with its measurements: every variant says what it costs and what it gains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanlin.compression.export import export_onnx
from hanlin.compression.quantize import INT8_METHODS, quantize_int8
from hanlin.corpora import iter_rows
from hanlin.domain import Reporter
from hanlin.engines import read_servable
from hanlin.evaluation import label_numbers, measure_latency, predict_logits
from hanlin.training import longest_input

GROUP = 16
MOST_TEXTS = 1000  # of the validation split, for agreement and accuracy
MIN_AGREEMENT, MAX_DROP = 0.99, 0.005  # what int8 may cost, on those texts
SOFTMAX_LIMIT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedVariant:
    """One servable folder with its figures: size_bytes, agreement, accuracy, accuracy_drop, latency_p50_ms."""

    folder: Path
    precision: str
    method: str
    size_bytes: int
    figures: dict[str, Any]


def compress(checkpoint: Path, corpus: Path, out: Path, reporter: Reporter) -> list[CompressedVariant]:
    """
    Return an fp32 and an int8 variant of *checkpoint*, as folders below *out*.

    Both are compared with the fp32 reference (torch) on validation texts. The int8 variant is the fastest that agrees
    with the reference on 99 % of them and loses at most half a point of accuracy.

    Raises what export_onnx, quantize_int8 and label_numbers raise.
    """
    rows = list(islice(iter_rows(corpus, "validation"), MOST_TEXTS))
    texts = [row.text for row in rows]
    reporter.progress(0, 4, "step", "export")
    fp32 = export_onnx(checkpoint, out / "fp32")
    truth = label_numbers(rows, read_servable(fp32).labels)
    reporter.progress(1, 4, "step", "reference")
    judge = _judge(texts, truth, reference_logits(checkpoint, texts))
    variants = [_variant(fp32, "fp32", "fused onnx", judge)]
    reporter.progress(2, 4, "step", "int8")
    variants.append(_search_int8(fp32, out, judge, reporter))
    for variant in variants:
        reporter.log("variant measured", precision=variant.precision, method=variant.method, **variant.figures)
    reporter.progress(4, 4, "step", "done")
    return variants


def reference_logits(checkpoint: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the logits of the trained model itself (torch, fp32), shape (texts, labels)."""
    import torch
    import transformers
    from tokenizers import Tokenizer

    model = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest_input(model.config.to_dict()))
    rows = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    by_length: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(index)
    logits = np.zeros((len(rows), model.config.num_labels), dtype=np.float32)
    with torch.inference_mode():
        for same in by_length.values():  # texts of one length need no padding, so that neighbours change nothing
            for start in range(0, len(same), GROUP):
                group = same[start : start + GROUP]
                ids = torch.tensor([rows[index] for index in group])
                logits[group] = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.numpy()
    return logits


Judge = Callable[[Path], dict[str, Any]]


def _judge(texts: Sequence[str], truth: NDArray[np.int64], reference: NDArray[np.float32]) -> Judge:
    def judge(folder: Path) -> dict[str, Any]:
        logits, _ = predict_logits(folder, texts)
        found, expected = logits.argmax(1), reference.argmax(1)
        return {
            "agreement": float((found == expected).mean()),
            "max_probability_change": float(np.abs(_softmax(logits) - _softmax(reference)).max()),
            "validation_accuracy": float((found == truth).mean()),
            "accuracy_drop": float((expected == truth).mean() - (found == truth).mean()),
            "compared_texts": len(texts),
            "latency_p50_ms": measure_latency(folder, texts[:200]),
        }

    return judge


def _variant(folder: Path, precision: str, method: str, judge: Judge) -> CompressedVariant:
    size = (folder / "model.onnx").stat().st_size
    figures = {**judge(folder), "size_bytes": size}
    return CompressedVariant(folder=folder, precision=precision, method=method, size_bytes=size, figures=figures)


def _search_int8(fp32: Path, out: Path, judge: Judge, reporter: Reporter) -> CompressedVariant:
    """Return the fastest int8 variant that keeps to the reference, or the one that comes nearest to it."""
    best: CompressedVariant | None = None
    for number, method in enumerate(INT8_METHODS, 1):
        found = _variant(quantize_int8(fp32, out / f"int8-{number}", method), "int8", method.name, judge)
        if best is None or found.figures["agreement"] > best.figures["agreement"]:
            best = found
        if found.figures["agreement"] >= MIN_AGREEMENT and found.figures["accuracy_drop"] <= MAX_DROP:
            return found
        reporter.log("int8 strays too far from the reference", method=method.name, **found.figures)
    assert best is not None  # noqa: S101
    return best


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = np.clip(logits - logits.max(1, keepdims=True), -SOFTMAX_LIMIT, 0).astype(np.float64)
    weights = np.exp(shifted)
    return np.asarray(weights / weights.sum(1, keepdims=True))
