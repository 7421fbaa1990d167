"""Predictions of a servable folder through the engine that serves it."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
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
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))  # the longest first: no core waits at the end
    groups = [order[start : start + GROUP] for start in range(0, len(order), GROUP)]
    logits = np.zeros((len(rows), len(encoder.info.labels)), dtype=np.float32)

    def judge(group: list[int]) -> int:
        logits[group] = engine.run([rows[index] for index in group])
        return len(group)

    done = 0
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as callers:  # as many callers as cores, one thread each
        for finished in as_completed([callers.submit(judge, group) for group in groups]):
            done += finished.result()
            on_done(done)
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
