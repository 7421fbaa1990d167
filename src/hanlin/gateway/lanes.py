"""
Lanes: one central queue per deployment and version, and the replicas that empty it.

    judge ──► waiting (oldest first) ──► form_batch ──► least loaded ready replica ──► tickets
                 ▲                                              │
                 └────────── the replica died: back to the front┘
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from hanlin.domain import DeadlineExceededError, OverloadedError, PlatformError, UnavailableError
from hanlin.engines import TextEncoder
from hanlin.gateway.batching import LOOK_AHEAD, form_batch
from hanlin.gateway.figures import Figures
from hanlin.gateway.routing import Load, fair_share, least_loaded, seats_with_room
from hanlin.wire import Route

MAX_ATTEMPTS = 3


class VersionGoneError(Exception):
    """The version a request was queued for serves no more; it starts over on the one that does."""


@dataclass(slots=True, eq=False)
class Ticket:
    """The texts of one request on their way through a lane."""

    digest: str
    deadline: float
    queued_at: float
    done: asyncio.Future[None]
    missing: int
    logits: list[list[float]]
    waiting: int = 0
    queue_s: float = 0.0
    compute_s: float = 0.0
    replica: str = ""

    def fail(self, error: Exception) -> None:
        """End the request; what is still under way for it is dropped when it comes."""
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True, eq=False)
class Text:
    """One text of a ticket."""

    ticket: Ticket
    index: int
    ids: list[int]
    attempts: int = 0
    is_alone: bool = False  # shares no batch, because a batch with it in it went wrong


class Seat(Protocol):
    """A ready replica as a lane sees it."""

    id: str
    load: Load

    def send(self, texts: Sequence[Text]) -> None:
        """Send one batch."""


@dataclass(slots=True, eq=False)
class Lane:
    """The queue of one version of a deployment. Lives in one event loop and needs no lock."""

    route: Route
    encoder: TextEncoder
    figures: Figures
    is_retired: bool = False
    waiting: deque[Text] = field(default_factory=deque)
    seats: dict[str, Seat] = field(default_factory=dict)
    queued: int = 0
    in_flight: int = 0

    async def judge(self, rows: Sequence[list[int]], deadline: float) -> Ticket:
        """
        Queue *rows* and return their ticket with all logits, in order; *deadline* is in the event loop's time.

        Raises OverloadedError when they do not fit, DeadlineExceededError or UnavailableError (``no_replica_ready``)
        when their time is up, VersionGoneError when this version serves no more. Cancelling frees their places.
        """
        self._check_room(len(rows))
        loop = asyncio.get_running_loop()
        ticket = Ticket(self.route.digest, deadline, loop.time(), loop.create_future(), len(rows), [[]] * len(rows))
        ticket.waiting = len(rows)
        self.queued += len(rows)
        self.waiting.extend(Text(ticket, index, ids) for index, ids in enumerate(rows))
        timer = loop.call_at(deadline, lambda: ticket.fail(self._too_late()))
        try:
            self.dispatch()
            await ticket.done
        finally:
            timer.cancel()
            self.queued -= ticket.waiting
            ticket.waiting = 0
        return ticket

    def dispatch(self) -> None:
        """Send what waits to replicas that have room; called whenever either may have changed."""
        while self.queued and (free := seats_with_room(self.seats.values())):
            texts = self._take(fair_share(self.queued, len(free)))
            if not texts:
                return
            seat = least_loaded(free)
            now = asyncio.get_running_loop().time()
            for text in texts:
                text.attempts += 1
                text.ticket.waiting -= 1
                text.ticket.replica = seat.id
                text.ticket.queue_s = max(text.ticket.queue_s, now - text.ticket.queued_at)
            self.queued -= len(texts)
            self.in_flight += len(texts)
            self.figures.batch_texts += len(texts)
            self.figures.batches += 1
            seat.send(texts)
        if self.is_retired and not self.seats:
            self._turn_away()

    def settle(self, texts: Sequence[Text], logits: Sequence[list[float]], compute_s: float) -> None:
        """Give answered texts their logits."""
        self.in_flight -= len(texts)
        self.figures.compute_s.observe(compute_s)
        for text, row in zip(texts, logits, strict=True):
            ticket = text.ticket
            ticket.logits[text.index] = row
            ticket.compute_s = max(ticket.compute_s, compute_s)
            ticket.missing -= 1
            if ticket.missing == 0 and not ticket.done.done():
                ticket.done.set_result(None)

    def fail(self, texts: Sequence[Text], error: PlatformError) -> None:
        """Take back texts that an engine could not judge: each tries once more alone, so that one spoils no other."""
        if len(texts) == 1:
            self.in_flight -= 1
            texts[0].ticket.fail(error)
        else:
            self.put_back(texts, error)

    def put_back(self, texts: Sequence[Text], error: PlatformError | None = None) -> None:
        """
        Queue again, at the front and each alone, texts whose replica is gone or failed: nobody has to notice.

        A text that has had MAX_ATTEMPTS fails with *error*: it may well be what the replicas died of.
        """
        self.in_flight -= len(texts)
        for text in reversed(texts):
            if text.attempts >= MAX_ATTEMPTS:
                lost = f"{text.attempts} replicas died over this text"
                text.ticket.fail(error or UnavailableError(lost, code="replicas_lost", retry_after_s=1.0))
            elif not text.ticket.done.done():
                text.is_alone = True
                text.ticket.waiting += 1
                self.queued += 1
                self.waiting.appendleft(text)
        self.dispatch()

    def is_over(self) -> bool:
        """Whether a retired lane can be forgotten."""
        return self.is_retired and not self.seats and not self.queued and not self.in_flight

    def _take(self, max_texts: int) -> list[Text]:
        window = list(islice(self._live(), LOOK_AHEAD))
        if not window:
            self.waiting.clear()
            return []
        if window[0].is_alone:
            chosen = [window[0]]
        else:
            joinable = [text for text in window if not text.is_alone]
            lengths = [len(text.ids) for text in joinable]
            limit = self.route.max_batch_tokens
            chosen = [joinable[i] for i in form_batch(lengths, max_tokens=limit, max_texts=max_texts)]
        for text in chosen:
            self.waiting.remove(text)
        return chosen

    def _live(self) -> Iterator[Text]:
        while self.waiting and self.waiting[0].ticket.done.done():
            self.waiting.popleft()
        return (text for text in self.waiting if not text.ticket.done.done())

    def _turn_away(self) -> None:
        for text in self.waiting:
            text.ticket.fail(VersionGoneError())
        self.waiting.clear()

    def _check_room(self, texts: int) -> None:
        limit = self.route.queue_limit
        if self.queued + texts > limit:
            raise OverloadedError(
                f"{self.queued} texts wait for {self.route.deployment}, the limit is {limit}",
                hint="try again after Retry-After, or ask for more replicas",
                retry_after_s=1.0,
            )

    def _too_late(self) -> PlatformError:
        name = self.route.deployment
        if not self.seats:
            return UnavailableError(
                f"no replica of {name} became ready in time",
                code="no_replica_ready",
                hint="see the deployment's status; try again after Retry-After",
                retry_after_s=2.0,
            )
        return DeadlineExceededError(
            f"{name} did not answer in time",
            hint="try again later, or raise queue_deadline_ms (or X-Request-Timeout)",
            retry_after_s=1.0,
        )
