"""Models, versions and promotions."""

from __future__ import annotations

from fastapi import APIRouter, Query

from hanlin.control.routes.access import Approver, Builder, Parts, Reader, listed
from hanlin.control.services import Services
from hanlin.domain import Model, ModelVersion, Promotion
from hanlin.wire.admin import (
    DecisionRequest,
    Listed,
    ModelPatch,
    ModelReply,
    PromotionRequest,
    VersionPatch,
    VersionReply,
)

router = APIRouter(tags=["models"])


@router.get("/models")
def list_models(
    parts: Parts, _: Reader, after: str | None = None, limit: int = Query(100, ge=1, le=500)
) -> Listed[ModelReply]:
    """List models with their versions (newest first) and aliases."""
    page = parts.store.models.list(limit=limit, after=after)
    data = [_reply(parts, model) for model in page.items]
    return Listed(data=data, next_cursor=page.next_cursor, has_more=page.next_cursor is not None)


@router.get("/models/{name}")
def get_model(name: str, parts: Parts, _: Reader) -> ModelReply:
    """Show a model with its versions and aliases."""
    return _reply(parts, parts.store.models.get(name))


@router.patch("/models/{name}")
def update_model(name: str, body: ModelPatch, parts: Parts, context: Builder) -> Model:
    """Change description, owner or tags."""
    return parts.registry.update_model(context, name, body.model_dump(exclude_none=True))


@router.get("/models/{name}/versions/{number}")
def get_version(name: str, number: int, parts: Parts, _: Reader) -> VersionReply:
    """Show a version with everything that was measured about it."""
    version = parts.store.versions.get(name, number)
    promotions = parts.store.promotions.iter(model=name)
    return VersionReply(
        version=version,
        evidence=list(parts.store.evidence.iter(model=name, version=number)),
        aliases=[alias.name for alias in parts.store.aliases.iter(model=name) if alias.version == number],
        promotions=[promotion for promotion in promotions if promotion.version == number],
    )


@router.patch("/models/{name}/versions/{number}")
def tag_version(name: str, number: int, body: VersionPatch, parts: Parts, context: Builder) -> ModelVersion:
    """Replace the tags of a version."""
    return parts.registry.tag_version(context, name, number, body.tags)


@router.post("/models/{name}/versions/{number}/retire")
def retire_version(name: str, number: int, parts: Parts, context: Builder) -> ModelVersion:
    """Take a version out of use for good."""
    return parts.registry.retire_version(context, name, number)


@router.get("/promotions")
def list_promotions(
    parts: Parts,
    _: Reader,
    model: str | None = None,
    state: str | None = None,
    after: str | None = None,
    limit: int = Query(50, ge=1, le=500),
) -> Listed[Promotion]:
    """List promotions, newest first."""
    return listed(parts.store.promotions.list(limit=limit, after=after, newest_first=True, model=model, state=state))


@router.post("/promotions", status_code=201)
def create_promotion(body: PromotionRequest, parts: Parts, context: Builder) -> Promotion:
    """Ask that an alias names a version; the policy judges the evidence at once."""
    return parts.promotions.request(
        context,
        model=body.model,
        version=body.version,
        alias=body.alias,
        policy=body.policy,
        may_approve_itself=parts.settings.control.may_approve_itself,
    )


@router.get("/promotions/{promotion_id}")
def get_promotion(promotion_id: str, parts: Parts, _: Reader) -> Promotion:
    """Show one promotion."""
    return parts.store.promotions.get(promotion_id)


@router.post("/promotions/{promotion_id}/approve")
def approve_promotion(promotion_id: str, body: DecisionRequest, parts: Parts, context: Approver) -> Promotion:
    """Approve a request of somebody else; the alias moves."""
    return parts.promotions.approve(context, promotion_id, body.reason)


@router.post("/promotions/{promotion_id}/refuse")
def refuse_promotion(promotion_id: str, body: DecisionRequest, parts: Parts, context: Approver) -> Promotion:
    """Refuse a request."""
    return parts.promotions.refuse(context, promotion_id, body.reason)


def _reply(parts: Services, model: Model) -> ModelReply:
    versions = list(parts.store.versions.iter(model=model.name))
    aliases = list(parts.store.aliases.iter(model=model.name))
    return ModelReply(model=model, versions=versions[::-1], aliases=aliases)
