"""What training must know of an encoder before it loads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanlin.domain import InvalidInputError

COUNTED_BEHIND_PADDING = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderShape:
    """How many layers an encoder has, and how many tokens, special ones included, it takes."""

    layers: int
    longest_input: int


def read_shape(folder: Path) -> EncoderShape:
    """Return the shape that ``config.json`` of *folder* tells; raise ``base_unsupported`` where it is no encoder's."""
    config = json.loads((folder / "config.json").read_bytes())
    try:
        return EncoderShape(layers=int(config["num_hidden_layers"]), longest_input=longest_input(config))
    except KeyError as error:
        raise InvalidInputError(
            f"a base of the kind {config.get('model_type')!r} cannot be fine-tuned: its config has no {error}",
            code="base_unsupported",
            hint="take a BERT or RoBERTa",
        ) from error


def longest_input(config: Mapping[str, Any]) -> int:
    """
    Return how many tokens a model with this config takes.

    RoBERTa and its kin number positions from behind the padding token's: of 514 positions 512 can be used.
    """
    positions = int(config["max_position_embeddings"])
    if config.get("model_type") in COUNTED_BEHIND_PADDING:
        return positions - int(config.get("pad_token_id") or 0) - 1
    return positions
