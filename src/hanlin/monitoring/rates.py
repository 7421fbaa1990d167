"""From counters and histograms that only grow to rates and quantiles; a counter that fell was started anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def increase(before: float, after: float) -> float:
    """Return by how much a counter grew; after a restart it grew from nothing."""
    return after - before if after >= before else after


def increases(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, float]:
    """Return by how much each of several counters grew."""
    return {name: increase(before.get(name, 0), count) for name, count in after.items()}


def bucket_increases(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Return by how much each bucket of a histogram grew; if one fell, all of them were started anew."""
    if len(before) != len(after) or any(a < b for b, a in zip(before, after, strict=True)):
        return list(after)
    return [a - b for b, a in zip(before, after, strict=True)]


def quantile(bounds: Sequence[float], counts: Sequence[int], q: float) -> float | None:
    """
    Return the *q* quantile of observations counted per bucket, or None when there are none.

    Observations are taken to lie evenly within their bucket; those beyond the last bound count as the last bound.
    """
    rank = q * sum(counts)
    if rank <= 0:
        return None
    passed, lower = 0, 0.0
    for upper, count in zip(bounds, counts, strict=False):
        if count and passed + count >= rank:
            return lower + (upper - lower) * (rank - passed) / count
        passed, lower = passed + count, upper
    return lower
