"""The management API as compose assembles it, in one data folder and without processes beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from hanlin.audit import Ledger, LedgerKeys, search, verify
from hanlin.auth import Keys
from hanlin.control import Changes, Deployments, Promotions, Registry, Services
from hanlin.domain import DeploymentName, KeyKind, Replica, Role
from hanlin.monitoring import AlertRules, ChannelSecrets, SeriesStore
from hanlin.settings import Layout, Settings
from hanlin.store import ArtifactStore, Store
from hanlin.wire.admin import ProbeReply
from hanlin.workflows import Scheduler, TaskQueue


class QuietWatch:
    """What is known where nothing runs."""

    def replicas(self, deployment: DeploymentName) -> Sequence[Replica]:
        """Nothing runs."""
        return []

    def trouble(self, deployment: DeploymentName) -> str:
        """Nobody complains."""
        return ""

    def figures(self, subject: str) -> Mapping[str, float]:
        """Nothing was measured."""
        return {}

    def gateway(self) -> Mapping[str, Any]:
        """No gateway reports."""
        return {"gateways": 0}

    def probes(self) -> Sequence[ProbeReply]:
        """Nothing is checked."""
        return []


def assemble(folder: Path, ledger: Ledger, keys: LedgerKeys) -> Services:
    """Return the parts of the management plane over *folder*."""
    settings, layout = Settings(), Layout(folder)
    store = Store.open(layout.store)
    changes = Changes(store, ledger)
    queue = TaskQueue(store)
    return Services(
        settings=settings,
        layout=layout,
        store=store,
        artifacts=ArtifactStore(layout.artifacts),
        keys=Keys(store, b"s" * 32),
        changes=changes,
        registry=Registry(store, changes),
        promotions=Promotions(store, changes),
        deployments=Deployments(store, changes),
        queue=queue,
        scheduler=Scheduler(store, queue),
        series=SeriesStore(layout.metrics),
        alerts=AlertRules(store, ChannelSecrets(layout.secrets), allowed=["hooks.example.com"]),
        watch=QuietWatch(),
        bases=list,
        report=lambda: {"deployments": []},
        search=lambda query, limit, after: search(
            layout.ledger, query, keys=keys, reveal=True, limit=limit, after=after
        ),
        verify=lambda: verify(layout.ledger, keys),
        ledger_failed=lambda: ledger.is_failed,
        metrics=lambda: "hanlin_up 1\n",
        is_stopping=lambda: True,  # streams end after their first look
    )


def issue(
    services: Services,
    *roles: Role,
    principal: str = "somebody",
    kind: KeyKind = KeyKind.SESSION,
    lasts: timedelta = timedelta(hours=1),
) -> str:
    """Return a key of *principal* with *roles*."""
    return services.keys.issue(
        kind=kind, name="test", principal=principal, roles=roles, by="test", now=datetime.now(UTC), lasts=lasts
    )[1]


def client(app: FastAPI, key: str = "", roles: Iterable[Role] = ()) -> httpx.AsyncClient:
    """Return a client that shows *key*, or a fresh one with *roles*."""
    roles = tuple(roles)
    key = issue(app.state.services, *roles) if roles else key
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://control", headers=headers)
