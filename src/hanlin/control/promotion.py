"""Promotions: evidence in, verdict out, and the only way an alias moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hanlin.control.changes import Changes, Context
from hanlin.domain import (
    Alias,
    ConflictError,
    ForbiddenError,
    ModelName,
    Promotion,
    PromotionId,
    PromotionState,
    decide,
    new_id,
)
from hanlin.store import Store

DEFAULT_POLICY = "accuracy_low > baseline_accuracy and n >= 100 and agreement >= 0.97 and accuracy_drop <= 0.005"
POLICY_ITSELF = "policy"


class Promotions:
    """Takes requests, lets the policy judge them, and moves aliases when they are approved."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store, self._changes = store, changes

    def request(
        self, context: Context, *, model: str, version: int, alias: str, policy: str | None, may_approve_itself: bool
    ) -> Promotion:
        """
        Ask that *alias* of *model* names *version*.

        The policy judges the evidence at once: not met means refused. Met means pending until somebody else approves,
        or, where *may_approve_itself* (one-machine demonstrations), approved by the policy, which the record says.
        """
        self._check_servable(model, version)
        policy = policy or DEFAULT_POLICY
        verdict = decide(policy, self.facts(model, version))
        current = self._store.aliases.find(model, alias)
        promotion = Promotion(
            id=PromotionId(new_id("promotion")),
            model=ModelName(model),
            version=version,
            alias=alias,
            requested_by=context.caller.principal,
            requested_at=datetime.now(UTC),
            policy=policy,
            verdict=verdict.as_dict(),
            previous_version=current.version if current else None,
        )
        details = {"model": model, "version": version, "alias": alias, "promotion": promotion.id, "policy": policy}
        with self._changes.record(context, "promotion.requested", **details, is_met=verdict.is_met):
            self._store.promotions.add(promotion)
        if not verdict.is_met:
            return self._decide(context, promotion, PromotionState.REFUSED, by=POLICY_ITSELF, reason=_why(promotion))
        if may_approve_itself:
            reason = "the policy is met and may approve by itself on this installation"
            return self._decide(context, promotion, PromotionState.APPROVED, by=POLICY_ITSELF, reason=reason)
        return promotion

    def approve(self, context: Context, promotion_id: str, reason: str) -> Promotion:
        """Approve a request of somebody else; the alias moves in the same transaction."""
        promotion = self._store.promotions.get(promotion_id)
        if promotion.requested_by == context.caller.principal:
            raise ForbiddenError(
                f"{context.caller.principal} asked for this promotion and may not approve it",
                code="four_eyes",
                hint="another validator decides",
            )
        return self._decide(context, promotion, PromotionState.APPROVED, by=context.caller.principal, reason=reason)

    def refuse(self, context: Context, promotion_id: str, reason: str) -> Promotion:
        """Refuse a request."""
        promotion = self._store.promotions.get(promotion_id)
        return self._decide(context, promotion, PromotionState.REFUSED, by=context.caller.principal, reason=reason)

    def facts(self, model: str, version: int) -> dict[str, Any]:
        """Return the latest figure of each name in the evidence about a version: what policies speak of."""
        facts: dict[str, Any] = {}
        found = self._store.evidence.iter(model=model, version=version)
        for evidence in sorted(found, key=lambda evidence: evidence.created_at):  # ids are ordered to the millisecond
            facts |= {name: value for name, value in evidence.figures.items() if isinstance(value, int | float | str)}
        return facts

    def _decide(self, context: Context, was: Promotion, state: PromotionState, *, by: str, reason: str) -> Promotion:
        now = datetime.now(UTC)
        current = self._store.aliases.find(was.model, was.alias)
        promotion = replace(
            was.moved(state, by=by, at=now, reason=reason), previous_version=current.version if current else None
        )
        details = {"model": was.model, "version": was.version, "alias": was.alias, "promotion": was.id, "by": by}
        with self._changes.record(context, f"promotion.{state.value}", **details, reason=reason):
            if state is PromotionState.APPROVED:
                self._check_servable(was.model, was.version)  # it may have been retired since it was asked for
                self._move(
                    Alias(model=was.model, name=was.alias, version=was.version, promotion_id=was.id, moved_at=now)
                )
            return self._store.promotions.replace(promotion, was=was)

    def _check_servable(self, model: str, version: int) -> None:
        wanted = self._store.versions.get(model, version)
        if not wanted.is_servable:
            raise ConflictError(
                f"version {version} of {model} ({wanted.format}, {wanted.state}) cannot be served",
                code="version_not_servable",
                hint="promote a compressed (onnx) version that is not retired",
            )

    def _move(self, alias: Alias) -> None:
        was = self._store.aliases.find(alias.model, alias.name)
        if was is None:
            self._store.aliases.add(alias)
        else:
            self._store.aliases.replace(alias, was=was)


def _why(promotion: Promotion) -> str:
    verdict: Mapping[str, Any] = promotion.verdict
    failed = [f"{c['text']} (found {c['found'] or 'nothing'})" for c in verdict["clauses"] if not c["holds"]]
    return f"the policy is not met: {'; '.join(failed)}"
