"""Aliases: the names that move between versions of a model, and when each move happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hanlin.domain.ids import ModelName, PromotionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name such as ``champion`` that stands for one version of a model until a promotion moves it."""

    model: ModelName
    name: str
    version: int
    promotion_id: PromotionId
    moved_at: datetime
