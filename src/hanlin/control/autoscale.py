"""How many replicas a deployment should have: one pure policy for every fleet driver."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from hanlin.domain import DeploymentSpec

WINDOW_S = 3.0
COOL_DOWN_S = 30.0


@dataclass(frozen=True, slots=True)
class Demand:
    """Texts waiting and in flight at an instant (seconds, monotonic)."""

    at: float
    texts: float


def decide_replicas(spec: DeploymentSpec, current: int, history: Sequence[Demand], now: float) -> int:
    """
    Return the wanted number of replicas. Pure.

    Up at once to what the average of the last 3 s asks for; down only to the highest that the last 30 s would have
    asked for, so that a short pause does not cost a start; always between min_replicas and max_replicas.
    """
    recent = [demand.texts for demand in history if demand.at > now - WINDOW_S]
    asked = _ask(spec, sum(recent) / len(recent)) if recent else spec.min_replicas
    if asked >= current:
        return _bounded(spec, asked)
    watched = [_ask(spec, demand.texts) for demand in history if demand.at > now - COOL_DOWN_S]
    if not watched or history[0].at > now - COOL_DOWN_S:
        return _bounded(spec, current)  # not watched for long enough to give anything up
    return _bounded(spec, min(current, max(asked, *watched)))


@dataclass(slots=True)
class Autoscaler:
    """Remembers the demand on each deployment for as long as the policy looks back."""

    _history: dict[str, deque[Demand]] = field(default_factory=dict)

    def observe(self, deployment: str, demand: Demand) -> None:
        """Take note of the demand on a deployment."""
        history = self._history.setdefault(deployment, deque())
        history.append(demand)
        while len(history) > 1 and history[1].at <= demand.at - COOL_DOWN_S:
            history.popleft()

    def decide(self, deployment: str, spec: DeploymentSpec, current: int, now: float) -> int:
        """Return the wanted number of replicas of a deployment."""
        return decide_replicas(spec, current, list(self._history.get(deployment, ())), now)


def _ask(spec: DeploymentSpec, texts: float) -> int:
    return math.ceil(texts / spec.target_concurrency)


def _bounded(spec: DeploymentSpec, wanted: int) -> int:
    return min(max(wanted, spec.min_replicas), spec.max_replicas)
