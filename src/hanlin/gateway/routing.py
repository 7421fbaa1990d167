"""Which replica gets the next batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

BATCHES_IN_FLIGHT = 2  # one that runs and one that waits at the replica, so that the engine never idles between them


@dataclass(slots=True)
class Load:
    """What a replica has been given and not yet answered."""

    batches: int = 0
    texts: int = 0
    tokens: int = 0


class Loaded(Protocol):
    """Something with a load."""

    load: Load


T = TypeVar("T", bound=Loaded)


def seats_with_room(seats: Iterable[T], *, batches_in_flight: int = BATCHES_IN_FLIGHT) -> list[T]:
    """Return the replicas that another batch may be sent to. Pure."""
    return [seat for seat in seats if seat.load.batches < batches_in_flight]


def least_loaded(seats: Sequence[T]) -> T:
    """Return the replica with the fewest outstanding tokens, the first among equals; *seats* is not empty. Pure."""
    return min(seats, key=lambda seat: seat.load.tokens)


def fair_share(waiting: int, seats: int) -> int:
    """Return how many texts one batch may take so that no replica with room goes without. Pure."""
    return max(1, -(-waiting // seats))
