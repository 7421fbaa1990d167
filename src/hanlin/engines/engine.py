"""The port that every engine implements: one model, loaded once, run many times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hanlin.domain import InvalidInputError

if TYPE_CHECKING:  # a gateway imports this package for its tokenizers and never computes: no numpy there
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What is loaded, and how."""

    engine: str
    precision: str
    labels: tuple[str, ...]
    max_length: int
    device: str
    threads: int
    size_bytes: int


class Engine(Protocol):
    """Loads a servable folder and computes logits. Not safe to share between threads while running."""

    def load(self, folder: Path, *, threads: int, device: str) -> None:
        """Load and warm up; raise InvalidInputError (``device_unavailable``) or NotFoundError."""

    def run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the logits, shape (texts, labels), of token ids of any lengths; raise InternalError if not finite."""

    def describe(self) -> EngineInfo:
        """Say what is loaded."""

    def unload(self) -> None:
        """Let go of the model. Idempotent."""


def _onnx() -> Engine:
    from hanlin.engines.onnx import OnnxEngine

    return OnnxEngine()


ENGINES: Mapping[str, Callable[[], Engine]] = {"onnx": _onnx}


def create_engine(name: str) -> Engine:
    """Return a new engine of the kind *name*, with nothing loaded."""
    if name not in ENGINES:
        raise InvalidInputError(
            f"there is no engine {name!r}", code="engine_unknown", hint=f"one of {', '.join(ENGINES)}"
        )
    return ENGINES[name]()
