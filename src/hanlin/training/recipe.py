"""Recipes: everything that decides how a model is trained, with defaults that work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from hanlin.domain import InvalidInputError

CHOICES = {"precision": ("auto", "fp32", "bf16"), "device": ("auto", "cpu", "cuda")}
RANGES: Mapping[str, tuple[float, float]] = {
    "layers": (0, 48),
    "frozen_layers": (-1, 47),
    "max_length": (8, 512),
    "epochs": (0.01, 100),
    "batch_size": (1, 1024),
    "learning_rate": (1e-7, 1e-1),
    "weight_decay": (0, 1),
    "warmup": (0, 0.9),
    "dropout": (0, 0.9),
    "time_budget_s": (5, 1e6),
    "patience": (0, 1000),
    "seed": (0, 2**31 - 1),
    "threads": (0, 256),
    "pretraining_s": (5, 1e6),
    "vocabulary_size": (500, 60_000),
    "hidden_size": (24, 1020),
}
MULTIPLES = {"hidden_size": 12}  # heads of a model from scratch


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """
    How to fine-tune for classification.

    *layers* 0 keeps as many of the base's layers as the time budget allows; of these the lowest *frozen_layers* (-1:
    half of a pretrained base, none of one from scratch) and the embeddings stay as they are, which saves two thirds of
    their time. *max_length* is in tokens, and bounds training only: the model serves longer texts. *epochs* is
    the most that is trained, the time budget may end it earlier; *patience* counts validations without improvement
    (0: never stop early). *pretraining_s*, *vocabulary_size* and *hidden_size* count only for base ``scratch``.
    """

    task: str = "classification"
    layers: int = 0
    frozen_layers: int = -1
    max_length: int = 64
    epochs: float = 3.0
    batch_size: int = 16
    learning_rate: float = 2e-4
    weight_decay: float = 0.01
    warmup: float = 0.1
    dropout: float = 0.0
    seed: int = 1
    time_budget_s: float = 215.0
    patience: int = 0
    precision: str = "auto"
    device: str = "auto"
    threads: int = 0
    pretraining_s: float = 90.0
    vocabulary_size: int = 8000
    hidden_size: int = 312

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item.name, getattr(self, item.name), item.default)

    @classmethod
    def of(cls, changes: Mapping[str, Any], *, threads: int = 0) -> Self:
        """Return the default recipe with *changes*; InvalidInputError names an unknown or unusable item."""
        known = {item.name for item in fields(cls)}
        if unknown := changes.keys() - known:
            name = min(unknown)
            raise InvalidInputError(
                f"a recipe has no item {name!r}",
                code="recipe_invalid",
                hint=f"items are {', '.join(sorted(known))}",
                param=name,
            )
        return cls(**{"threads": threads, **changes})

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data."""
        return asdict(self)


def _check(name: str, value: object, default: object) -> None:
    if isinstance(default, str):
        allowed = CHOICES.get(name, (default,))
        if value not in allowed:
            raise _invalid(name, value, f"one of {', '.join(allowed)}")
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (isinstance(default, int) and not isinstance(value, int)):
        raise _invalid(name, value, "a whole number" if isinstance(default, int) else "a number")
    low, high = RANGES[name]
    if not low <= float(str(value)) <= high:
        raise _invalid(name, value, f"from {_readable(low)} to {_readable(high)}")
    if name in MULTIPLES and int(str(value)) % MULTIPLES[name]:
        raise _invalid(name, value, f"a multiple of {MULTIPLES[name]}, the number of attention heads")


def _readable(number: float) -> str:
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:g}"


def _invalid(name: str, value: object, right: str) -> InvalidInputError:
    return InvalidInputError(f"{name} is {value!r}", code="recipe_invalid", hint=f"it must be {right}", param=name)
