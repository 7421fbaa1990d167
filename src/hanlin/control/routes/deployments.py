"""Deployments and their configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from hanlin.control.routes.access import Operator, Parts, Reader, listed
from hanlin.control.status import describe
from hanlin.domain import CONFIG_ITEMS, Release
from hanlin.wire.admin import (
    ConfigItemReply,
    ConfigPatch,
    ConfigPlan,
    DeploymentReply,
    DeploymentRequest,
    Listed,
    RollbackRequest,
    ServedReply,
)

router = APIRouter(tags=["deployments"])


@router.get("/config-items")
def list_config_items(_: Reader) -> Listed[ConfigItemReply]:
    """List the config items of a deployment with their types and bounds."""
    return Listed(data=[ConfigItemReply.of(item) for item in CONFIG_ITEMS])


@router.get("/deployments")
def list_deployments(
    parts: Parts, _: Reader, after: str | None = None, limit: int = Query(100, ge=1, le=500)
) -> Listed[DeploymentReply]:
    """List deployments with what runs."""
    page = parts.store.deployments.list(limit=limit, after=after)
    data = [describe(parts, deployment) for deployment in page.items]
    return Listed(data=data, next_cursor=page.next_cursor, has_more=page.next_cursor is not None)


@router.post("/deployments", status_code=201)
def create_deployment(body: DeploymentRequest, parts: Parts, context: Operator) -> DeploymentReply:
    """Create a deployment that follows an alias of a model."""
    deployment = parts.deployments.create(
        context, name=body.name, model=body.model, alias=body.alias, config=body.config
    )
    return describe(parts, deployment)


@router.get("/deployments/{name}")
def get_deployment(name: str, parts: Parts, _: Reader, response: Response) -> DeploymentReply:
    """Show a deployment: what is wanted, what runs, how it does."""
    reply = describe(parts, parts.store.deployments.get(name))
    response.headers["ETag"] = f'"{reply.etag}"'
    return reply


@router.delete("/deployments/{name}", status_code=204)
def delete_deployment(name: str, parts: Parts, context: Operator) -> None:
    """Stop serving and remove the deployment."""
    parts.deployments.delete(context, name)


@router.patch("/deployments/{name}/config", response_model=DeploymentReply | ConfigPlan)
def configure(
    name: str,
    body: ConfigPatch,
    parts: Parts,
    context: Operator,
    dry_run: bool = False,
    if_match: Annotated[str | None, Header()] = None,
) -> Any:
    """Publish a change as the next release; with dry_run=true only say what it would do."""
    if dry_run:
        was = parts.store.deployments.get(name)
        spec = was.spec.changed(body.changes)
        before, after = was.spec.as_dict(), spec.as_dict()
        return ConfigPlan(
            changes={item: (before[item], after[item]) for item in after if after[item] != before[item]},
            restarts_replicas=was.spec.restarts_replicas(spec),
            release=was.release + 1,
        )
    return describe(parts, parts.deployments.configure(context, name, body.changes, note=body.note, etag=if_match))


@router.get("/deployments/{name}/releases")
def list_releases(
    name: str, parts: Parts, _: Reader, after: str | None = None, limit: int = Query(50, ge=1, le=500)
) -> Listed[Release]:
    """List the releases of the configuration, newest first."""
    parts.store.deployments.get(name)
    return listed(parts.store.releases.list(limit=limit, after=after, newest_first=True, deployment=name))


@router.post("/deployments/{name}/rollback")
def rollback(name: str, body: RollbackRequest, parts: Parts, context: Operator) -> DeploymentReply:
    """Bring the configuration of an earlier release back, as a new release."""
    return describe(parts, parts.deployments.rollback(context, name, body.release, body.note))


@router.get("/deployments/{name}/at")
def served_at(name: str, time: datetime, parts: Parts, _: Reader) -> ServedReply:
    """Say what the deployment served at an instant (ISO 8601; UTC when it names no zone)."""
    at = time if time.tzinfo else time.replace(tzinfo=UTC)
    promotion, release = parts.deployments.served_at(name, at)
    version = promotion.version if promotion else None
    return ServedReply(deployment=name, at=at, version=version, promotion=promotion, release=release)
