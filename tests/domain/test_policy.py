"""Policies judge evidence, and nothing else can be written in them."""

from __future__ import annotations

import pytest

from hanlin.domain import InvalidInputError, decide

FACTS = {"accuracy": 0.87, "accuracy_low": 0.85, "agreement": 0.995, "precision": "int8"}


class TestDecide:
    @pytest.mark.parametrize(
        ("policy", "is_met"),
        [
            ("accuracy >= 0.85", True),
            ("accuracy_low >= 0.85 and agreement > 0.99", True),
            ("accuracy >= 0.9 or agreement >= 0.99", True),
            ("not accuracy >= 0.9", True),
            ("0.8 < accuracy < 0.9", True),
            ("precision == 'int8'", True),
            ("accuracy >= 0.9", False),
            ("accuracy > -1", True),
        ],
    )
    def test_judges_comparisons(self, policy: str, is_met: bool) -> None:
        """Comparisons joined by and, or, not mean what they say."""
        assert decide(policy, FACTS).is_met is is_met

    def test_does_not_hold_on_missing_facts(self) -> None:
        """A condition on a fact that was never measured does not hold, and the fact is named."""
        verdict = decide("accuracy >= 0.8 and robustness_drop < 0.05", FACTS)

        assert not verdict.is_met
        assert verdict.missing == ("robustness_drop",)

    def test_shows_what_it_saw(self) -> None:
        """Each clause carries the figures it was decided on."""
        verdict = decide("accuracy >= 0.8", FACTS)

        assert [(c.text, c.holds, c.found) for c in verdict.clauses] == [("accuracy >= 0.8", True, {"accuracy": 0.87})]

    @pytest.mark.parametrize(
        "policy",
        ["", "accuracy", "__import__('os')", "accuracy.real > 1", "[1] > 0", "accuracy > 'x'", "a" * 3000, "(" * 500],
    )
    def test_refuses_anything_else(self, policy: str) -> None:
        """Calls, attributes and other code are refused with a stable code."""
        with pytest.raises(InvalidInputError) as caught:
            decide(policy, FACTS)

        assert caught.value.code == "policy_invalid"
