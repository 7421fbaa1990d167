"""Servable folders: what a model version must contain so that an engine can load it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from hanlin.domain import InvalidInputError, NotFoundError

CARD = "hanlin.json"
WEIGHTS = "model.onnx"
TOKENIZER = "tokenizer.json"
ModelInput = Literal["input_ids", "attention_mask", "token_type_ids"]  # what an engine knows how to feed


class ServableInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The card of a servable folder (``hanlin.json``)."""

    format: str
    task: str
    precision: str
    labels: Annotated[list[str], msgspec.Meta(min_length=1)]
    max_length: Annotated[int, msgspec.Meta(ge=1)]
    pad_id: Annotated[int, msgspec.Meta(ge=0)]
    inputs: Annotated[list[ModelInput], msgspec.Meta(min_length=1)]
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
