"""Deployments: create, configure by releases, roll back, delete; and what they served when."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from hanlin.control.changes import Changes, Context
from hanlin.control.registry import check_name
from hanlin.domain import (
    Deployment,
    DeploymentName,
    DeploymentSpec,
    ModelName,
    PreconditionFailedError,
    Promotion,
    PromotionState,
    Release,
)
from hanlin.store import Store


class Deployments:
    """What is wanted of each deployment; the reconciler makes it so."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store, self._changes = store, changes

    def create(self, context: Context, *, name: str, model: str, alias: str, config: Mapping[str, Any]) -> Deployment:
        """Make a deployment that follows *alias* of *model*, with release 1 of its configuration."""
        check_name(name, "deployment")
        self._store.models.get(model)
        spec = DeploymentSpec(model=ModelName(model), alias=alias).changed(config)
        now = datetime.now(UTC)
        deployment = Deployment(
            name=DeploymentName(name), release=1, spec=spec, created_at=now, wanted_replicas=spec.min_replicas
        )
        with self._changes.record(context, "deployment.created", deployment=name, model=model, alias=alias, release=1):
            self._store.deployments.add(deployment)
            self._store.releases.add(_release(deployment, context, "created"))
        return deployment

    def configure(
        self, context: Context, name: str, changes: Mapping[str, Any], *, note: str = "", etag: str | None = None
    ) -> Deployment:
        """Publish *changes* as the next release; PreconditionFailedError when *etag* is not the present one."""
        with self._store.transaction():
            was = self._get(name)
            if etag is not None and etag.strip('"') != etag_of(was):
                raise PreconditionFailedError(
                    f"deployment {name} is at release {was.release} by now",
                    hint="read it again, then repeat the change",
                )
            return self._publish(context, was, was.spec.changed(changes), "deployment.configured", note)

    def rollback(self, context: Context, name: str, release: int, note: str = "") -> Deployment:
        """Bring the configuration of *release* back as a new release."""
        with self._store.transaction():
            was = self._get(name)
            spec = self._store.releases.get(name, release).spec
            return self._publish(context, was, spec, "deployment.rolled_back", note, rolled_back_to=release)

    def delete(self, context: Context, name: str) -> None:
        """Remove the deployment; its replicas stop, its releases stay readable in the ledger."""
        self._get(name)
        with self._changes.record(context, "deployment.deleted", deployment=name):
            for release in list(self._store.releases.iter(deployment=name)):
                self._store.releases.remove(name, release.number)
            self._store.deployments.remove(name)

    def served_at(self, name: str, at: datetime) -> tuple[Promotion | None, Release | None]:
        """Return the promotion and the release that were in force for the deployment at *at*."""
        deployment = self._get(name)
        releases = [r for r in self._store.releases.iter(deployment=name) if r.created_at <= at]
        spec = releases[-1].spec if releases else deployment.spec
        promotions = [
            promotion
            for promotion in self._store.promotions.iter(model=spec.model, state=PromotionState.APPROVED.value)
            if promotion.alias == spec.alias and promotion.decided_at is not None and promotion.decided_at <= at
        ]
        latest = max(promotions, key=lambda p: p.decided_at or p.requested_at, default=None)
        return (latest if releases else None), (releases[-1] if releases else None)

    def _get(self, name: str) -> Deployment:
        return self._store.deployments.get(name)

    def _publish(
        self,
        context: Context,
        was: Deployment,
        spec: DeploymentSpec,
        action: str,
        note: str,
        rolled_back_to: int | None = None,
    ) -> Deployment:
        number = was.release + 1
        wanted = min(max(was.wanted_replicas, spec.min_replicas), spec.max_replicas)
        deployment = replace(was, release=number, spec=spec, wanted_replicas=wanted)
        before, after = was.spec.as_dict(), spec.as_dict()
        changed = [f"{item}: {before[item]} -> {after[item]}" for item in after if after[item] != before[item]]
        with self._changes.record(context, action, deployment=was.name, release=number, changed=changed, note=note):
            self._store.deployments.replace(deployment, was=was)
            self._store.releases.add(replace(_release(deployment, context, note), rolled_back_to=rolled_back_to))
        return deployment


def etag_of(deployment: Deployment) -> str:
    """Return what If-Match compares: a digest of the configuration in force."""
    body = msgspec.json.encode([deployment.name, deployment.release, deployment.spec], order="deterministic")
    return hashlib.sha256(body).hexdigest()[:16]


def _release(deployment: Deployment, context: Context, note: str) -> Release:
    return Release(
        deployment=deployment.name,
        number=deployment.release,
        spec=deployment.spec,
        created_by=context.caller.principal,
        created_at=datetime.now(UTC),
        note=note,
    )
