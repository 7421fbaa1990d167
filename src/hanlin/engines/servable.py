"""Servable folders: what a model version must contain so that an engine can load it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from hanlin.domain import InvalidInputError, NotFoundError

CARD = "hanlin.json"
WEIGHTS = "model.onnx"
TOKENIZER = "tokenizer.json"


class ServableInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The card of a servable folder (``hanlin.json``)."""

    format: str
    task: str
    precision: str
    labels: list[str]
    max_length: int
    pad_id: int
    inputs: list[str]
    created_by: str = ""


def read_servable(folder: Path) -> ServableInfo:
    """Return the card of *folder*; raise NotFoundError or InvalidInputError that says what is wrong with it."""
    for name in (CARD, WEIGHTS, TOKENIZER):
        if not (folder / name).is_file():
            raise NotFoundError(
                f"{name} is missing in the model folder",
                code="servable_incomplete",
                hint="publish a compressed (onnx) version",
            )
    try:
        return msgspec.json.decode((folder / CARD).read_bytes(), type=ServableInfo)
    except msgspec.DecodeError as error:
        raise InvalidInputError(f"{CARD} of the model cannot be read: {error}", code="servable_invalid") from None
