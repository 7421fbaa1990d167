"""From what is wanted and what runs to the next actions: pure, so that it can be tested without a fleet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hanlin.domain import Replica, ReplicaId, ReplicaState

LIVE = frozenset({ReplicaState.STARTING, ReplicaState.READY})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What should run: so many replicas of a version, started under a generation of the configuration."""

    version: int
    generation: int
    count: int


@dataclass(frozen=True, slots=True)
class Start:
    """Start one more replica as it is wanted."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Let a replica finish and leave."""

    replica: ReplicaId


@dataclass(frozen=True, slots=True)
class Switch:
    """Send requests to this version from now on."""

    version: int


Action: TypeAlias = Start | Drain | Switch


def plan(wanted: Wanted, serving: int | None, replicas: Sequence[Replica]) -> list[Action]:
    """
    Return the next actions towards *wanted*; nothing when it is reached.

    Requests go to *serving* (None before the first time). They are switched to another version once as many of its
    replicas are ready as are wanted, or as are ready of the old one; an old replica is drained only after that, so
    an update never takes capacity below what is wanted or, if fewer, what there was.
    """
    live = [replica for replica in replicas if replica.state in LIVE]
    right = [r for r in live if (r.version, r.generation) == (wanted.version, wanted.generation)]
    others = [r for r in live if r not in right]
    right.sort(key=lambda replica: replica.state is not ReplicaState.READY)  # those that serve stay
    keep, surplus = right[: wanted.count], right[wanted.count :]
    actions: list[Action] = [Start()] * (wanted.count - len(keep))

    ready = sum(replica.state is ReplicaState.READY for replica in keep)
    may_switch = serving is None or ready >= max(1, min(wanted.count, _ready_of(serving, others)))
    if serving != wanted.version and may_switch:
        actions.append(Switch(wanted.version))
    if serving == wanted.version:
        actions += [Drain(replica.id) for replica in surplus]
        actions += [Drain(replica.id) for replica in _leavers(wanted, ready, others)]
    return actions


def _ready_of(version: int, replicas: Sequence[Replica]) -> int:
    return sum(r.version == version and r.state is ReplicaState.READY for r in replicas)


def _leavers(wanted: Wanted, ready: int, others: Sequence[Replica]) -> list[Replica]:
    """Old replicas that may go: all once enough are ready, before that only what is spare."""
    if ready >= wanted.count:
        return list(others)
    idle = [r for r in others if r.state is not ReplicaState.READY or r.version != wanted.version]
    serving = [r for r in others if r not in idle]
    spare = max(0, ready + len(serving) - wanted.count)
    return [*idle, *serving[:spare]]
