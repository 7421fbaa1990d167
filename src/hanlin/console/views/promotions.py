"""Promotions: what was asked, what the policy says, and the decision of a second person."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response

from hanlin.console.views.models import facts_of
from hanlin.console.visit import Fields, Member
from hanlin.domain import PromotionState
from hanlin.sdk import Calls

router = APIRouter()


@router.get("/promotions")
async def list_promotions(visit: Member, state: str = "", model: str = "", after: str | None = None) -> Response:
    """List promotions, newest first."""
    call = Calls.list_promotions(state=state or None, model=model or None, after=after)
    page = await visit.api.send(call)
    return visit.render("promotions.html", page=page, state=state, states=[s.value for s in PromotionState])


@router.get("/promotions/{promotion_id}")
async def show_promotion(visit: Member, promotion_id: str) -> Response:
    """Show one promotion with its verdict, clause by clause."""
    promotion = await visit.api.send(Calls.get_promotion(promotion_id))
    version = await visit.api.send(Calls.get_version(promotion.model, promotion.version))
    return visit.render("promotion.html", promotion=promotion, version=version.version, facts=facts_of(version))


@router.post("/promotions/{promotion_id}/{decision}")
async def decide_promotion(
    visit: Member, promotion_id: str, decision: Literal["approve", "refuse"], form: Fields
) -> Response:
    """Approve or refuse."""
    decide = Calls.approve_promotion if decision == "approve" else Calls.refuse_promotion
    promotion = await visit.api.send(decide(promotion_id, form.text("reason")))
    notice = f"promotion_{promotion.state.value}"
    return visit.go(f"/promotions/{promotion.id}", notice, promotion.model, str(promotion.version))
