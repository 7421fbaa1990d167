"""Predictions of a servable folder through the engine that serves it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hanlin.engines import TextEncoder, create_engine

GROUP = 8
WARM_UP = 20


def predict_logits(
    folder: Path, texts: Sequence[str], on_done: Callable[[int], None] = lambda _: None
) -> tuple[NDArray[np.float32], list[str]]:
    """Return the logits of *texts*, shape (texts, labels), and the labels; long texts are judged by their beginning."""
    encoder, engine = TextEncoder(folder), create_engine("onnx")
    engine.load(folder, threads=1, device="cpu")
    rows = encoder.encode(texts, truncate=True)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    logits = np.zeros((len(rows), len(encoder.info.labels)), dtype=np.float32)
    for start in range(0, len(order), GROUP):
        chosen = order[start : start + GROUP]
        logits[chosen] = engine.run([rows[index] for index in chosen])
        on_done(start + len(chosen))
    engine.unload()
    return logits, list(encoder.info.labels)


def measure_latency(folder: Path, texts: Sequence[str]) -> float:
    """Return the median time in ms from one text to its logits: one text at a time, one thread."""
    encoder, engine = TextEncoder(folder), create_engine("onnx")
    engine.load(folder, threads=1, device="cpu")
    times = []
    for text in [*texts[:WARM_UP], *texts]:
        begun = time.perf_counter()
        engine.run(encoder.encode([text], truncate=True))
        times.append((time.perf_counter() - begun) * 1000)
    engine.unload()
    return round(statistics.median(times[min(WARM_UP, len(texts)) :]), 3)
