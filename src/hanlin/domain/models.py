"""Models, their immutable versions, the evidence about them, and the promotions that move aliases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from hanlin.domain.errors import IllegalMoveError
from hanlin.domain.ids import Digest, EvidenceId, ModelName, PromotionId, TaskId


class VersionState(StrEnum):
    """Where a model version is in its life."""

    READY = "ready"
    RETIRED = "retired"


class VersionFormat(StrEnum):
    """What the version's folder holds: a checkpoint to train and export from, or what an engine serves."""

    TRANSFORMERS = "transformers"
    ONNX = "onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A named line of versions for one task; the name is what aliases and deployments refer to."""

    name: ModelName
    task: str
    created_at: datetime
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One immutable result: the bytes behind *digest*, and from what they came."""

    model: ModelName
    number: int
    digest: Digest
    format: VersionFormat
    precision: str
    size_bytes: int
    created_at: datetime
    created_by: str
    labels: tuple[str, ...]
    max_length: int
    lineage: Mapping[str, Any] = field(default_factory=dict)  # corpus, base, recipe, parent version, task
    tags: Mapping[str, str] = field(default_factory=dict)
    state: VersionState = VersionState.READY

    @property
    def is_servable(self) -> bool:
        """Whether a replica can load it."""
        return self.format is VersionFormat.ONNX and self.state is VersionState.READY

    def retired(self) -> Self:
        """Return this version out of use; there is no way back."""
        if self.state is VersionState.RETIRED:
            raise IllegalMoveError(f"version {self.number} of {self.model}", self.state, VersionState.RETIRED)
        return replace(self, state=VersionState.RETIRED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One measured fact about a version: what was measured, on what, and the figures."""

    id: EvidenceId
    model: ModelName
    version: int
    kind: str  # quality, agreement, performance, training
    figures: Mapping[str, Any]
    created_at: datetime
    task_id: TaskId | None = None


class PromotionState(StrEnum):
    """What became of a request to move an alias."""

    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"


P = PromotionState
PROMOTION_MOVES: Mapping[PromotionState, frozenset[PromotionState]] = {
    P.PENDING: frozenset({P.APPROVED, P.REFUSED}),
    P.APPROVED: frozenset(),
    P.REFUSED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """A request to let *alias* of *model* name *version*, with the policy's verdict and who decided."""

    id: PromotionId
    model: ModelName
    version: int
    alias: str
    requested_by: str
    requested_at: datetime
    policy: str
    verdict: Mapping[str, Any] = field(default_factory=dict)
    state: PromotionState = PromotionState.PENDING
    decided_by: str | None = None
    decided_at: datetime | None = None
    reason: str = ""
    previous_version: int | None = None

    def moved(self, to: PromotionState, *, by: str, at: datetime, reason: str = "") -> Self:
        """Return this promotion decided, or raise if it was decided before."""
        if to not in PROMOTION_MOVES[self.state]:
            raise IllegalMoveError(f"promotion {self.id}", self.state, to)
        return replace(self, state=to, decided_by=by, decided_at=at, reason=reason)
