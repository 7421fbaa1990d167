"""Everything the routes of the management API work with, put together by compose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hanlin.audit import Query, SearchPage, VerifyReport
from hanlin.auth import Keys
from hanlin.control.changes import Changes
from hanlin.control.deployments import Deployments
from hanlin.control.promotion import Promotions
from hanlin.control.registry import Registry
from hanlin.domain import DeploymentName, Replica
from hanlin.monitoring import AlertRules, SeriesStore
from hanlin.settings import Layout, Settings
from hanlin.store import ArtifactStore, Store
from hanlin.wire.admin import BaseReply, ProbeReply
from hanlin.workflows import Scheduler, TaskQueue


class Watch(Protocol):
    """What is known about what runs."""

    def replicas(self, deployment: DeploymentName) -> Sequence[Replica]:
        """Return the replicas of a deployment as last observed."""

    def trouble(self, deployment: DeploymentName) -> str:
        """Return why a deployment is not as wanted, or an empty text."""

    def figures(self, subject: str) -> Mapping[str, float]:
        """Return the latest value of each series of *subject*."""

    def gateway(self) -> Mapping[str, Any]:
        """Return what the gateways last reported of themselves."""

    def probes(self) -> Sequence[ProbeReply]:
        """Return the latest results of the periodic checks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of the management plane."""

    settings: Settings
    layout: Layout
    store: Store
    artifacts: ArtifactStore
    keys: Keys
    changes: Changes
    registry: Registry
    promotions: Promotions
    deployments: Deployments
    queue: TaskQueue
    scheduler: Scheduler
    series: SeriesStore
    alerts: AlertRules
    watch: Watch
    bases: Callable[[], Sequence[BaseReply]]
    report: Callable[[], Mapping[str, Any]]
    search: Callable[[Query, int, str | None], SearchPage]
    verify: Callable[[], VerifyReport]
    ledger_failed: Callable[[], bool]
    metrics: Callable[[], str]
    publish_keys: Callable[[], None] = lambda: None  # returns when gateways know the keys as they are, within 2 s
    is_stopping: Callable[[], bool] = lambda: False  # streams that never end look at it, so that nobody waits for them
