"""Those who wait for a record to become durable, and how they are told: one wake-up per event loop and group."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from hanlin.audit.encoding import Sealed
from hanlin.audit.entry import Receipt
from hanlin.domain import PlatformError

Outcome: TypeAlias = "Receipt | PlatformError"


class Promise(Protocol):
    """The side of a future that keeps it; asyncio's and the threads' futures both have it."""

    def done(self) -> bool:
        """Whether it is kept, or nobody waits any more."""

    def set_result(self, result: Receipt, /) -> None:
        """Keep it."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Break it."""


class Waiter:
    """One record on its way and the promise to keep; *loop* is where the promise lives, None for a thread's."""

    __slots__ = ("loop", "promise", "sealed", "since")

    def __init__(self, sealed: Sealed, promise: Promise, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.sealed, self.promise, self.loop, self.since = sealed, promise, loop, time.perf_counter()


def tell(group: Sequence[Waiter], outcomes: Sequence[Outcome]) -> None:
    """Give every waiter its outcome. May be called from any thread."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Promise, Outcome]]] = {}
    for waiter, outcome in zip(group, outcomes, strict=True):
        if waiter.loop is None:
            _settle(waiter.promise, outcome)
        else:
            by_loop.setdefault(waiter.loop, []).append((waiter.promise, outcome))
    for loop, pairs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            loop.call_soon_threadsafe(_settle_all, pairs)


def _settle_all(pairs: Sequence[tuple[Promise, Outcome]]) -> None:
    for promise, outcome in pairs:
        _settle(promise, outcome)


def _settle(promise: Promise, outcome: Outcome) -> None:
    if promise.done():  # its caller went away; the record stays
        return
    if isinstance(outcome, PlatformError):
        promise.set_exception(outcome)
    else:
        promise.set_result(outcome)
