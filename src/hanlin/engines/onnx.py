"""
The default engine: onnxruntime.

One intra-op thread and batches of one text, or of texts of nearly the same length, are fastest on a CPU; it takes
any length without a new shape costing anything (docs/notes/gateway.md has the measurements).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from hanlin.domain import InternalError, InvalidInputError
from hanlin.engines.engine import EngineInfo
from hanlin.engines.servable import WEIGHTS, ServableInfo, read_servable

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
WARM_UP_LENGTHS = (8, 32, 64)


class OnnxEngine:
    """One onnxruntime session."""

    def __init__(self) -> None:
        self._session: ort.InferenceSession | None = None
        self._card: ServableInfo | None = None
        self._info: EngineInfo | None = None

    def load(self, folder: Path, *, threads: int, device: str) -> None:
        """Load ``model.onnx`` of *folder* and run it once per usual length."""
        card = read_servable(folder)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(str(folder / WEIGHTS), options, providers=[_provider(device)])
        self._card = card
        self._info = EngineInfo(
            engine="onnx",
            precision=card.precision,
            labels=tuple(card.labels),
            max_length=card.max_length,
            device=device,
            threads=threads,
            size_bytes=(folder / WEIGHTS).stat().st_size,
        )
        for length in WARM_UP_LENGTHS:
            self.run([[card.pad_id] * min(length, card.max_length)])

    def run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the logits, shape (texts, labels)."""
        if self._session is None or self._card is None:
            raise InternalError("the engine has no model loaded", code="engine_not_loaded")
        logits = np.asarray(self._session.run(None, self._feed(rows, self._card))[0], dtype=np.float32)
        if logits.shape != (len(rows), len(self._card.labels)) or not np.isfinite(logits).all():
            raise InternalError("the model gave no usable scores", code="engine_output_invalid")
        return logits

    def describe(self) -> EngineInfo:
        """Say what is loaded."""
        if self._info is None:
            raise InternalError("the engine has no model loaded", code="engine_not_loaded")
        return self._info

    def unload(self) -> None:
        """Let go of the session."""
        self._session = self._card = self._info = None

    @staticmethod
    def _feed(rows: Sequence[Sequence[int]], card: ServableInfo) -> dict[str, NDArray[np.int64]]:
        width = max(len(row) for row in rows)
        ids = np.full((len(rows), width), card.pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return {name: arrays[name] for name in card.inputs}


def _provider(device: str) -> str:
    available = ort.get_available_providers()
    if PROVIDERS.get(device) not in available:
        usable = [name for name, provider in PROVIDERS.items() if provider in available]
        raise InvalidInputError(
            f"device {device!r} is not to be had on this machine",
            code="device_unavailable",
            hint=f"available: {', '.join(usable)}",
            param="device",
        )
    return PROVIDERS[device]
