"""
How a batch is formed: by length, without timers.

On a CPU padding costs what real tokens cost: padded batches of 8 lose 30 % against one by one, groups of nearly the
same length gain up to 20 %. So the oldest text leads, and others join only while padding stays under a bound.
"""

from __future__ import annotations

from collections.abc import Sequence

LOOK_AHEAD = 16
MAX_WASTE = 0.1


def form_batch(
    lengths: Sequence[int],
    *,
    max_tokens: int,
    max_texts: int = LOOK_AHEAD,
    look_ahead: int = LOOK_AHEAD,
    max_waste: float = MAX_WASTE,
) -> list[int]:
    """
    Return the indices of the texts that go together, oldest first; never empty, the first one always leads. Pure.

    Only the first *look_ahead* texts are looked at, so that nobody is passed over for long. Texts join in the order
    of how close their length is to the leader's, while the padded batch has at most *max_tokens* tokens (a leader
    alone may have more) of which at most the share *max_waste* is padding, and at most *max_texts* texts.
    """
    chosen, longest, total = [0], lengths[0], lengths[0]
    rest = sorted(range(1, min(look_ahead, len(lengths))), key=lambda index: (abs(lengths[index] - lengths[0]), index))
    for index in rest:
        if len(chosen) >= max_texts:
            break
        width = max(longest, lengths[index])
        padded = width * (len(chosen) + 1)
        if padded <= max_tokens and padded - (total + lengths[index]) <= max_waste * padded:
            chosen.append(index)
            longest, total = width, total + lengths[index]
    return sorted(chosen)
