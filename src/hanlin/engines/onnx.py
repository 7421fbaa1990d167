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
from onnxruntime.capi import onnxruntime_pybind11_state as native

from hanlin.domain import InternalError, InvalidInputError
from hanlin.engines.engine import EngineInfo
from hanlin.engines.servable import CARD, WEIGHTS, ServableInfo, read_servable

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
WARM_UP_LENGTHS = (8, 32, 64)
RUNTIME_ERRORS: tuple[type[Exception], ...] = (  # the library's own errors have no common base but Exception
    *(kind for kind in vars(native).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    RuntimeError,
    ValueError,
)


class OnnxEngine:
    """One onnxruntime session."""

    def __init__(self) -> None:
        self._session: ort.InferenceSession | None = None
        self._card: ServableInfo | None = None
        self._info: EngineInfo | None = None

    def load(self, folder: Path, *, threads: int, device: str) -> None:
        """Load ``model.onnx`` of *folder* and run it once per usual length; a model that cannot do that is refused."""
        card = read_servable(folder)
        provider = _provider(device)
        try:
            self._session = ort.InferenceSession(str(folder / WEIGHTS), _options(threads), providers=[provider])
        except RUNTIME_ERRORS as error:
            raise InvalidInputError(
                f"{WEIGHTS} cannot be loaded: {error}", code="servable_invalid", hint="publish the version again"
            ) from error
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
        self._warm_up(card)

    def _warm_up(self, card: ServableInfo) -> None:
        try:
            for length in WARM_UP_LENGTHS:
                self.run([[card.pad_id] * min(length, card.max_length)])
        except InternalError as error:
            self.unload()
            raise InvalidInputError(
                f"{WEIGHTS} does not do what {CARD} says: {error.message}",
                code="servable_invalid",
                hint="publish the version again",
            ) from error

    def run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the logits, shape (texts, labels)."""
        if self._session is None or self._card is None:
            raise InternalError("the engine has no model loaded", code="engine_not_loaded")
        try:
            output = self._session.run(None, _feed(rows, self._card))[0]
        except RUNTIME_ERRORS as error:
            raise InternalError(f"the engine failed: {error}", code="engine_failed") from error
        logits = np.ascontiguousarray(output, dtype=np.float32)
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


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning takes the neighbours' cores
    return options


def _feed(rows: Sequence[Sequence[int]], card: ServableInfo) -> dict[str, NDArray[np.int64]]:
    width = max(map(len, rows))
    if len(rows) == 1:
        ids = np.array(rows, dtype=np.int64)
        mask = np.ones_like(ids)
    else:
        ids = np.full((len(rows), width), card.pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
    feed = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in card.inputs:
        feed["token_type_ids"] = np.zeros_like(ids)
    return {name: feed[name] for name in card.inputs if name in feed}  # the session asks for what it misses


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
