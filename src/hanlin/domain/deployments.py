"""Deployments: what is wanted (spec, released as configuration) and what runs (replicas, as last observed)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from hanlin.domain.errors import IllegalMoveError, InvalidInputError
from hanlin.domain.ids import DeploymentName, Digest, ModelName, ReplicaId


class ReplicaState(StrEnum):
    """The life of a replica."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


S = ReplicaState
REPLICA_MOVES: Mapping[ReplicaState, frozenset[ReplicaState]] = {
    S.STARTING: frozenset({S.READY, S.DRAINING, S.FAILED}),
    S.READY: frozenset({S.DRAINING, S.FAILED}),
    S.DRAINING: frozenset({S.STOPPED, S.FAILED}),
    S.STOPPED: frozenset(),
    S.FAILED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigItem:
    """One typed setting of a deployment: its range, what it means, and what a change costs."""

    name: str
    type: type
    default: object
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    restarts_replicas: bool = False
    unit: str = ""
    meaning: str = ""


CONFIG_ITEMS: tuple[ConfigItem, ...] = (
    ConfigItem(name="min_replicas", type=int, default=1, minimum=1, maximum=64, meaning="replicas that always run"),
    ConfigItem(
        name="max_replicas", type=int, default=2, minimum=1, maximum=64, meaning="replicas that load may call for"
    ),
    ConfigItem(
        name="target_concurrency",
        type=int,
        default=8,
        minimum=1,
        maximum=1024,
        unit="requests",
        meaning="requests in flight or waiting per replica that the autoscaler aims at",
    ),
    ConfigItem(
        name="threads",
        type=int,
        default=1,
        minimum=1,
        maximum=64,
        restarts_replicas=True,
        meaning="intra-op threads of the engine in each replica",
    ),
    ConfigItem(
        name="device",
        type=str,
        default="cpu",
        choices=("cpu", "cuda"),
        restarts_replicas=True,
        meaning="where the engine computes",
    ),
    ConfigItem(
        name="max_batch_tokens",
        type=int,
        default=512,
        minimum=16,
        maximum=65_536,
        unit="tokens",
        meaning="bound of one batch, padding included",
    ),
    ConfigItem(
        name="queue_limit",
        type=int,
        default=512,
        minimum=1,
        maximum=65_536,
        unit="texts",
        meaning="texts that may wait; more are refused at once",
    ),
    ConfigItem(
        name="queue_deadline_ms",
        type=int,
        default=10_000,
        minimum=50,
        maximum=600_000,
        unit="ms",
        meaning="longest time from arrival to answer",
    ),
)
ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_ITEMS = {item.name: item for item in CONFIG_ITEMS}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    """What is wanted of a deployment: which model it follows, and how it runs (one ConfigItem per further field)."""

    model: ModelName
    alias: str = "champion"
    min_replicas: int = 1
    max_replicas: int = 2
    target_concurrency: int = 8
    threads: int = 1
    device: str = "cpu"
    max_batch_tokens: int = 512
    queue_limit: int = 512
    queue_deadline_ms: int = 10_000

    def __post_init__(self) -> None:
        if not isinstance(self.alias, str) or not ALIAS.fullmatch(self.alias):
            raise InvalidInputError(
                f"alias is {self.alias!r}",
                code="config_invalid",
                hint="it is 1 to 63 of a-z, 0-9, dot, dash and underscore, beginning with a letter or digit",
                param="alias",
            )
        for item in CONFIG_ITEMS:
            _check(item, getattr(self, item.name))
        if self.min_replicas > self.max_replicas:
            raise InvalidInputError(
                f"min_replicas is {self.min_replicas} and max_replicas {self.max_replicas}",
                code="config_invalid",
                hint="min_replicas may not be above max_replicas",
                param="min_replicas",
            )

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return the spec with *changes* applied; an unknown name or a value out of range raises InvalidInputError."""
        if unknown := changes.keys() - {f.name for f in fields(self)}:
            name = min(unknown)
            raise InvalidInputError(
                f"there is no config item {name!r}",
                code="config_unknown_item",
                hint=f"items are {', '.join(_ITEMS)}",
                param=name,
            )
        if "model" in changes:
            raise InvalidInputError(
                "a deployment keeps its model",
                code="config_invalid",
                hint="make another deployment for another model",
                param="model",
            )
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Return the spec as plain data."""
        return asdict(self)

    def restarts_replicas(self, other: DeploymentSpec) -> bool:
        """Whether replicas that run under this spec have to be replaced to run under *other*."""
        return any(
            item.restarts_replicas and getattr(self, item.name) != getattr(other, item.name) for item in CONFIG_ITEMS
        )


def _check(item: ConfigItem, value: object) -> None:
    if type(value) is not item.type:
        raise InvalidInputError(
            f"{item.name} is {value!r}",
            code="config_invalid",
            hint=f"it must be of type {item.type.__name__}",
            param=item.name,
        )
    if item.choices and value not in item.choices:
        raise InvalidInputError(
            f"{item.name} is {value!r}",
            code="config_invalid",
            hint=f"one of {', '.join(item.choices)}",
            param=item.name,
        )
    if isinstance(value, int) and not _low(item) <= value <= _high(item):
        raise InvalidInputError(
            f"{item.name} is {value}",
            code="config_invalid",
            hint=f"it must be from {item.minimum} to {item.maximum}",
            param=item.name,
        )


def _low(item: ConfigItem) -> float:
    return float("-inf") if item.minimum is None else item.minimum


def _high(item: ConfigItem) -> float:
    return float("inf") if item.maximum is None else item.maximum


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One published configuration of a deployment; the newest is in force, an older one comes back as a new release."""

    deployment: DeploymentName
    number: int
    spec: DeploymentSpec
    created_by: str
    created_at: datetime
    note: str = ""
    rolled_back_to: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A named endpoint with its configuration in force."""

    name: DeploymentName
    release: int
    spec: DeploymentSpec
    created_at: datetime
    workspace: str = "default"
    version: int | None = None  # what the alias resolved to and the gateways were told to serve
    wanted_replicas: int = 1  # between min and max, moved by the autoscaler
    is_deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One running copy of a model version, as last observed."""

    id: ReplicaId
    deployment: DeploymentName
    version: int
    digest: Digest
    generation: int  # release that last changed what replicas are started with
    state: ReplicaState = ReplicaState.STARTING
    in_flight: int = 0
    start_s: float = 0.0
    memory_bytes: int = 0
    served: int = 0
    pid: int = 0
    error: str = ""

    def moved(self, to: ReplicaState) -> Self:
        """Return this replica in state *to*, or raise if that move is not allowed."""
        if to not in REPLICA_MOVES[self.state]:
            raise IllegalMoveError(f"replica {self.id}", self.state, to)
        return replace(self, state=to)
