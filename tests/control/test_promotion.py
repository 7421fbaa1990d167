"""Promotions: the policy judges, somebody else decides, and nothing else moves an alias."""

from __future__ import annotations

import pytest
from tests.control.ledgers import GOOD, POLICY, MemoryRecorder, add_version, by

from hanlin.control import DEFAULT_POLICY, Promotions, Registry
from hanlin.domain import (
    ConflictError,
    ForbiddenError,
    IllegalMoveError,
    InvalidInputError,
    LedgerUnavailableError,
    NotFoundError,
    Promotion,
    PromotionState,
    VersionFormat,
)
from hanlin.store import Store


def ask(
    promotions: Promotions,
    version: int,
    *,
    principal: str = "alice",
    alias: str = "champion",
    policy: str | None = POLICY,
    may_approve_itself: bool = False,
) -> Promotion:
    """Ask for a promotion of *version* of reviews."""
    return promotions.request(
        by(principal),
        model="reviews",
        version=version,
        alias=alias,
        policy=policy,
        may_approve_itself=may_approve_itself,
    )


class TestRequest:
    def test_waits_for_somebody_when_the_policy_is_met(
        self, store: Store, registry: Registry, promotions: Promotions, recorder: MemoryRecorder
    ) -> None:
        """Good evidence makes a request pending with the verdict in it; no alias moves."""
        promotion = ask(promotions, add_version(registry))

        assert promotion.state is PromotionState.PENDING
        assert promotion.verdict["is_met"] is True
        assert [clause["found"] for clause in promotion.verdict["clauses"]] == [{"accuracy_low": 0.85}, {"n": 500}]
        assert store.promotions.get(promotion.id) == promotion
        assert store.aliases.find("reviews", "champion") is None
        assert recorder.entries[-1].action == "promotion.requested"
        assert recorder.entries[-1].details["is_met"] is True

    def test_is_refused_with_the_reason_when_the_policy_is_not_met(
        self, store: Store, registry: Registry, promotions: Promotions, recorder: MemoryRecorder
    ) -> None:
        """What fell short, and what was found, is in the answer and in the record."""
        promotion = ask(promotions, add_version(registry, figures={"accuracy_low": 0.7, "n": 500}))

        assert promotion.state is PromotionState.REFUSED
        assert promotion.decided_by == "policy"
        assert promotion.reason == "the policy is not met: accuracy_low >= 0.8 (found {'accuracy_low': 0.7})"
        assert store.aliases.find("reviews", "champion") is None
        assert recorder.actions()[-2:] == ["promotion.requested", "promotion.refused"]
        assert recorder.entries[-1].details["reason"] == promotion.reason

    def test_is_refused_when_the_evidence_is_missing(self, registry: Registry, promotions: Promotions) -> None:
        """A version that nobody measured meets no policy, not even the one that holds when none is given."""
        promotion = ask(promotions, add_version(registry, figures={}), policy=None)

        assert promotion.state is PromotionState.REFUSED
        assert promotion.policy == DEFAULT_POLICY
        assert promotion.verdict["missing"] == ["accuracy_drop", "accuracy_low", "agreement", "baseline_accuracy", "n"]
        assert "accuracy_low > baseline_accuracy (found nothing)" in promotion.reason

    def test_looks_at_the_latest_figure_of_each_name(self, registry: Registry, promotions: Promotions) -> None:
        """A newer measurement takes the place of an older one; other figures stay."""
        number = add_version(registry, figures={"accuracy_low": 0.6, "n": 500})
        registry.add_evidence(by("task"), "reviews", number, "quality", {"accuracy_low": 0.9}, None)

        assert promotions.facts("reviews", number) == {"accuracy_low": 0.9, "n": 500}
        assert ask(promotions, number).state is PromotionState.PENDING

    def test_may_approve_itself_where_the_installation_says_so(
        self, store: Store, registry: Registry, promotions: Promotions, recorder: MemoryRecorder
    ) -> None:
        """Self-approval moves the alias at once, and the record says that nobody looked."""
        number = add_version(registry)
        promotion = ask(promotions, number, may_approve_itself=True)

        assert (promotion.state, promotion.decided_by) == (PromotionState.APPROVED, "policy")
        assert store.aliases.get("reviews", "champion").version == number
        assert recorder.entries[-1].action == "promotion.approved"
        assert recorder.entries[-1].details["by"] == "policy"
        assert recorder.entries[-1].details["reason"] == (
            "the policy is met and may approve by itself on this installation"
        )

    def test_does_not_approve_itself_against_the_policy(self, registry: Registry, promotions: Promotions) -> None:
        """Self-approval does not lower the bar."""
        promotion = ask(promotions, add_version(registry, figures={"n": 1}), may_approve_itself=True)

        assert promotion.state is PromotionState.REFUSED

    def test_takes_no_version_that_cannot_be_served(
        self, store: Store, registry: Registry, promotions: Promotions
    ) -> None:
        """A trained checkpoint and a retired version are refused with version_not_servable; nothing is written."""
        trained = add_version(registry, format_=VersionFormat.TRANSFORMERS)
        retired = add_version(registry)
        registry.retire_version(by("alice"), "reviews", retired)

        for number, found in ((trained, "transformers, ready"), (retired, "onnx, retired")):
            with pytest.raises(ConflictError, match=found) as caught:
                ask(promotions, number)
            assert caught.value.code == "version_not_servable"
        assert list(store.promotions.iter()) == []

    def test_names_what_does_not_exist(self, registry: Registry, promotions: Promotions) -> None:
        """An unknown version is not found."""
        add_version(registry)

        with pytest.raises(NotFoundError) as caught:
            ask(promotions, 9)
        assert caught.value.code == "version_not_found"

    def test_takes_no_policy_that_is_not_one(self, store: Store, registry: Registry, promotions: Promotions) -> None:
        """A policy that is a program is refused before anything is written."""
        number = add_version(registry)

        with pytest.raises(InvalidInputError) as caught:
            ask(promotions, number, policy="__import__('os').getcwd() == ''")
        assert caught.value.code == "policy_invalid"
        assert list(store.promotions.iter()) == []


class TestDecision:
    def test_is_never_made_by_who_asked(self, store: Store, registry: Registry, promotions: Promotions) -> None:
        """Whoever asks, whatever the roles, somebody else approves."""
        promotion = ask(promotions, add_version(registry))

        with pytest.raises(ForbiddenError) as caught:
            promotions.approve(by("alice"), promotion.id, "it is fine")
        assert caught.value.code == "four_eyes"
        assert store.promotions.get(promotion.id) == promotion
        assert store.aliases.find("reviews", "champion") is None

    def test_moves_the_alias_when_it_approves(
        self, store: Store, registry: Registry, promotions: Promotions, recorder: MemoryRecorder
    ) -> None:
        """An approval names who and why, moves the alias, and says what was there before."""
        first, second = add_version(registry), add_version(registry)
        promotions.approve(by("bob"), ask(promotions, first).id, "first")
        promotion = promotions.approve(by("bob"), ask(promotions, second).id, "better")

        alias = store.aliases.get("reviews", "champion")
        assert (alias.version, alias.promotion_id, alias.moved_at) == (second, promotion.id, promotion.decided_at)
        assert (promotion.decided_by, promotion.reason, promotion.previous_version) == ("bob", "better", first)
        assert recorder.entries[-1].action == "promotion.approved"
        assert (recorder.entries[-1].actor, recorder.entries[-1].details["by"]) == ("bob", "bob")

    def test_leaves_the_alias_when_it_refuses(self, store: Store, registry: Registry, promotions: Promotions) -> None:
        """A refusal is kept with its reason; who asked may also take the request back."""
        promotion = promotions.refuse(by("alice"), ask(promotions, add_version(registry)).id, "too early")

        assert (promotion.state, promotion.decided_by, promotion.reason) == (
            PromotionState.REFUSED,
            "alice",
            "too early",
        )
        assert store.aliases.find("reviews", "champion") is None

    @pytest.mark.parametrize("decided", [PromotionState.APPROVED, PromotionState.REFUSED])
    def test_is_made_once(self, registry: Registry, promotions: Promotions, decided: PromotionState) -> None:
        """What was decided stays decided."""
        promotion = ask(promotions, add_version(registry))
        decide = {PromotionState.APPROVED: promotions.approve, PromotionState.REFUSED: promotions.refuse}
        decide[decided](by("bob"), promotion.id, "")

        for again in decide.values():
            with pytest.raises(IllegalMoveError):
                again(by("carol"), promotion.id, "")

    def test_does_not_happen_when_the_ledger_fails(
        self, store: Store, registry: Registry, promotions: Promotions, recorder: MemoryRecorder
    ) -> None:
        """No alias moves without a record of it; the request can be decided later."""
        number = add_version(registry)
        promotion = ask(promotions, number)
        recorder.is_failing = True
        with pytest.raises(LedgerUnavailableError):
            promotions.approve(by("bob"), promotion.id, "")

        assert store.aliases.find("reviews", "champion") is None
        assert store.promotions.get(promotion.id).state is PromotionState.PENDING
        recorder.is_failing = False
        assert promotions.approve(by("bob"), promotion.id, "").version == number

    def test_does_not_bring_back_what_was_retired_meanwhile(
        self, store: Store, registry: Registry, promotions: Promotions
    ) -> None:
        """A version that was retired after the request cannot be approved any more, only refused."""
        number = add_version(registry)
        promotion = ask(promotions, number)
        registry.retire_version(by("alice"), "reviews", number)

        with pytest.raises(ConflictError) as caught:
            promotions.approve(by("bob"), promotion.id, "")
        assert caught.value.code == "version_not_servable"
        assert store.aliases.find("reviews", "champion") is None
        assert promotions.refuse(by("bob"), promotion.id, "").state is PromotionState.REFUSED


class TestRetirement:
    def test_waits_until_no_alias_names_the_version(self, registry: Registry, promotions: Promotions) -> None:
        """What is served is not retired by accident."""
        first, second = add_version(registry, figures=GOOD), add_version(registry)
        ask(promotions, first, may_approve_itself=True)
        with pytest.raises(ConflictError) as caught:
            registry.retire_version(by("alice"), "reviews", first)
        assert caught.value.code == "version_in_use"

        ask(promotions, second, may_approve_itself=True)
        assert not registry.retire_version(by("alice"), "reviews", first).is_servable

    def test_is_for_good(self, registry: Registry) -> None:
        """A retired version cannot be retired again, nor come back."""
        number = add_version(registry)
        registry.retire_version(by("alice"), "reviews", number)

        with pytest.raises(IllegalMoveError):
            registry.retire_version(by("alice"), "reviews", number)
