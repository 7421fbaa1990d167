from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.gateway import form_batch
from hanlin.gateway.routing import Load, fair_share, least_loaded, seats_with_room


class TestFormBatch:
    @pytest.mark.parametrize(
        ("lengths", "max_tokens", "expected"),
        [
            ([10], 512, [0]),
            ([600, 10], 512, [0]),  # a leader longer than the bound goes alone
            ([10, 10, 10], 512, [0, 1, 2]),
            ([10, 10, 10], 20, [0, 1]),  # bounded by tokens
            ([10, 60, 10], 512, [0, 2]),  # the long one would make the others mostly padding
            ([60, 10, 58], 512, [0, 2]),
            ([10, 11, 12, 30], 512, [0, 1, 2]),
            ([20, 22, 18], 512, [0, 1, 2]),
        ],
    )
    def test_groups_what_is_of_like_length(self, lengths: list[int], max_tokens: int, expected: list[int]) -> None:
        """The oldest leads; others join while padding stays low and the batch within its bound."""
        assert form_batch(lengths, max_tokens=max_tokens) == expected

    def test_looks_ahead_only_so_far(self) -> None:
        """Nobody is passed over by more than the look-ahead."""
        assert form_batch([10, *[90] * 20, 10], max_tokens=512, look_ahead=16) == [0]

    def test_takes_no_more_than_its_share(self) -> None:
        """What other replicas could begin at once is left to them."""
        assert form_batch([10] * 8, max_tokens=512, max_texts=4) == [0, 1, 2, 3]

    @given(
        lengths=st.lists(st.integers(1, 512), min_size=1, max_size=40),
        max_tokens=st.integers(16, 4096),
        max_texts=st.integers(1, 16),
    )
    def test_keeps_its_bounds_whatever_waits(self, lengths: list[int], max_tokens: int, max_texts: int) -> None:
        """The first always goes; padding, tokens, texts and look-ahead stay within their bounds."""
        chosen = form_batch(lengths, max_tokens=max_tokens, max_texts=max_texts)

        picked = [lengths[index] for index in chosen]
        padded = max(picked) * len(picked)
        assert chosen[0] == 0
        assert sorted(set(chosen)) == chosen
        assert len(chosen) <= max_texts
        assert chosen[-1] < 16
        assert len(chosen) == 1 or padded <= max_tokens
        assert padded - sum(picked) <= 0.1 * padded


@dataclass
class Seat:
    name: str
    load: Load = field(default_factory=Load)


class TestRouting:
    @pytest.mark.parametrize(
        ("loads", "expected"),
        [
            ({"a": Load(0, 0, 0), "b": Load(1, 4, 40)}, "a"),
            ({"a": Load(1, 1, 90), "b": Load(1, 4, 40)}, "b"),
            ({"a": Load(1, 1, 40), "b": Load(1, 4, 40)}, "a"),
            ({"a": Load(2, 2, 10), "b": Load(1, 9, 900)}, "b"),
        ],
    )
    def test_sends_to_the_fewest_outstanding_tokens(self, loads: dict[str, Load], expected: str) -> None:
        """Tokens count, not requests; a replica with two batches in flight is left alone."""
        free = seats_with_room([Seat(name, load) for name, load in loads.items()])

        assert least_loaded(free).name == expected

    def test_waits_when_all_are_busy(self) -> None:
        """At most two batches are in flight per replica."""
        assert seats_with_room([Seat("a", Load(2, 2, 2))]) == []

    @pytest.mark.parametrize(("waiting", "seats", "share"), [(1, 2, 1), (8, 2, 4), (9, 2, 5), (3, 1, 3)])
    def test_shares_what_waits(self, waiting: int, seats: int, share: int) -> None:
        """Eight texts and two idle replicas make two batches of four."""
        assert fair_share(waiting, seats) == share
