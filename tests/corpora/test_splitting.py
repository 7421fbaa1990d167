"""Splits depend on the text alone, and hold out what was asked."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.corpora import SplitPlan, text_key
from hanlin.corpora.splitting import decide_cuts
from hanlin.domain import InvalidInputError, UnprocessableError

KEYS = [text_key(f"text {number}") for number in range(2000)]


def sizes(plan: SplitPlan, keys: list[bytes] = KEYS) -> Counter[str]:
    return Counter(map(decide_cuts(plan, keys).split_of, keys))


class TestDecideCuts:
    def test_holds_out_the_shares(self) -> None:
        """Shares are met as closely as chance allows."""
        found = sizes(SplitPlan(validation=0.2, test=0.1))

        assert found["validation"] == pytest.approx(400, abs=60)
        assert found["test"] == pytest.approx(200, abs=45)

    def test_minimums_raise_the_shares(self) -> None:
        """Where a share is too small for the minimum, exactly the minimum is held out."""
        found = sizes(SplitPlan(validation=0, test=0.01, minimum_validation=300, minimum_test=500))

        assert found == {"train": 1200, "validation": 300, "test": 500}

    def test_a_text_stays_in_its_split_when_others_come(self) -> None:
        """Shares alone never move a text when the corpus grows."""
        small, large = (decide_cuts(SplitPlan(), keys) for keys in (KEYS[:100], KEYS))

        assert [small.split_of(key) for key in KEYS] == [large.split_of(key) for key in KEYS]

    def test_too_few_rows_are_said(self) -> None:
        """A minimum that leaves nothing to train on is refused."""
        with pytest.raises(UnprocessableError, match="2,000 different texts") as caught:
            decide_cuts(SplitPlan(minimum_test=1500, minimum_validation=500), KEYS)

        assert caught.value.code == "corpus_too_few_rows"

    @pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.2), (0.9, 0.3)])
    def test_impossible_shares_are_refused(self, shares: tuple[float, float]) -> None:
        """A plan is checked when it is made."""
        with pytest.raises(InvalidInputError) as caught:
            SplitPlan(validation=shares[0], test=shares[1])

        assert caught.value.code == "corpus_split_invalid"

    @given(
        validation=st.floats(0, 0.49),
        test=st.floats(0, 0.49),
        minimum_validation=st.integers(0, 40),
        minimum_test=st.integers(0, 40),
        keys=st.lists(st.binary(min_size=16, max_size=16), min_size=81, max_size=120, unique_by=lambda key: key[:8]),
    )
    def test_minimums_always_hold(
        self, validation: float, test: float, minimum_validation: int, minimum_test: int, keys: list[bytes]
    ) -> None:
        """Whatever the plan, the held-out test split is at least as large as asked, and every text has one split."""
        plan = SplitPlan(
            validation=validation, test=test, minimum_validation=minimum_validation, minimum_test=minimum_test
        )
        found = sizes(plan, keys)

        assert found["test"] >= minimum_test
        assert found.total() == len(keys)
