"""
Splits by the hash of the text: the same text lands in the same split, in every version and on every machine.

    0 ┌── test ──┬────────────── train ──────────────┬── validation ──┐ 2^64     (first 8 bytes of the text's key)

As a split is a function of the normalised text, no text can stand in two of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from hanlin.domain import InvalidInputError, UnprocessableError

SPACE = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPlan:
    """What is held out: shares of the texts, raised where a minimum number asks for more."""

    validation: float = 0.1
    test: float = 0.1
    minimum_validation: int = 0
    minimum_test: int = 0

    def __post_init__(self) -> None:
        shares, minimums = (self.validation, self.test), (self.minimum_validation, self.minimum_test)
        if min(*shares, *minimums) < 0 or sum(shares) >= 1:
            raise InvalidInputError(
                f"validation {self.validation} and test {self.test} leave nothing to train on",
                code="corpus_split_invalid",
                hint="shares between 0 and 1 whose sum is below 1, and minimums of 0 or more",
            )


USUAL_SPLIT = SplitPlan()


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where test ends and validation begins."""

    test: int
    validation: int

    def split_of(self, key: bytes) -> str:
        """Return the split of the text with this key."""
        position = position_of(key)
        if position < self.test:
            return "test"
        return "validation" if position >= self.validation else "train"


def position_of(key: bytes) -> int:
    """Return where a text lies between 0 and 2^64."""
    return int.from_bytes(key[:8], "big")


def decide_cuts(plan: SplitPlan, keys: Sequence[bytes]) -> Cuts:
    """Return the cuts for *plan* over the texts with *keys*; raise ``corpus_too_few_rows`` if they are too few."""
    if plan.minimum_test + plan.minimum_validation >= max(len(keys), 1):
        raise UnprocessableError(
            f"{len(keys):,} different texts cannot give {plan.minimum_test:,} for test and "
            f"{plan.minimum_validation:,} for validation and leave some to train on",
            code="corpus_too_few_rows",
            hint="bring more rows, or hold out fewer",
        )
    low = heapq.nsmallest(plan.minimum_test, map(position_of, keys))
    high = heapq.nlargest(plan.minimum_validation, map(position_of, keys))
    test = max(int(plan.test * SPACE), low[-1] + 1 if low else 0)
    validation = min(SPACE - int(plan.validation * SPACE), high[-1] if high else SPACE)
    return Cuts(test, validation)
