"""
Lanes: one central queue per deployment, and the replicas that empty it.

    submit ──► waiting (oldest first) ──► form_batch ──► least loaded ready replica ──► futures
                   ▲                                              │
                   └────────── the replica died: back to the front┘
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hanlin.domain import DeadlineExceededError, InternalError, OverloadedError, PlatformError, UnavailableError
from hanlin.gateway.batching import form_batch
from hanlin.gateway.figures import Figures
from hanlin.wire import Route

MAX_ATTEMPTS = 4


class VersionGoneError(Exception):
    """The version a text was queued for serves no more; the request starts over on the one that does."""


@dataclass(slots=True, eq=False)
class Text:
    """One text on its way through a lane; its future gets the logits."""

    ids: list[int]
    digest: str
    deadline: float
    logits: asyncio.Future[list[float]]
    queued_at: float
    attempts: int = 0
    queue_s: float = 0.0
    compute_s: float = 0.0
    replica: str = ""


class Seat(Protocol):
    """A ready replica as a lane sees it."""

    id: str
    digest: str
    outstanding_tokens: int

    def has_room(self) -> bool:
        """Whether another batch may be sent."""

    def send(self, texts: Sequence[Text]) -> None:
        """Send one batch."""


@dataclass(slots=True)
class Lane:
    """The queue of one deployment."""

    route: Route
    figures: Figures = field(default_factory=Figures)
    waiting: list[Text] = field(default_factory=list)
    seats: dict[str, Seat] = field(default_factory=dict)
    in_flight: int = 0

    async def judge(self, rows: Sequence[list[int]]) -> list[Text]:
        """
        Queue *rows* and return them judged, in order.

        Raises OverloadedError when they do not fit, DeadlineExceededError or UnavailableError (``no_replica_ready``)
        when their time is up. Cancelling frees their places.
        """
        if len(self.waiting) + len(rows) > self.route.queue_limit:
            raise OverloadedError(
                f"{len(self.waiting)} texts wait for {self.route.deployment}, the limit is {self.route.queue_limit}",
                hint="try again after Retry-After, or ask for more replicas",
                retry_after_s=1.0,
            )
        loop, now = asyncio.get_running_loop(), time.monotonic()
        deadline = now + self.route.queue_deadline_ms / 1000
        texts = [Text(row, self.route.digest, deadline, loop.create_future(), now) for row in rows]
        self.waiting += texts
        self.dispatch()
        try:
            async with asyncio.timeout_at(loop.time() + self.route.queue_deadline_ms / 1000):
                await asyncio.gather(*(text.logits for text in texts))
        except TimeoutError:
            raise self._too_late() from None
        finally:
            self._forget(texts)
        return texts

    def dispatch(self) -> None:
        """Send what waits to replicas that have room; called whenever either may have changed."""
        while self.waiting:
            leader = self.waiting[0]
            if self._is_orphan(leader):
                self.waiting.pop(0)
                leader.logits.set_exception(VersionGoneError())
                continue
            seat = self._seat(leader.digest)
            if seat is None:
                return
            same = [text for text in self.waiting[:64] if text.digest == leader.digest]
            lengths = [len(text.ids) for text in same]
            chosen = [same[index] for index in form_batch(lengths, max_tokens=self.route.max_batch_tokens)]
            now = time.monotonic()
            for text in chosen:
                self.waiting.remove(text)
                text.queue_s, text.attempts, text.replica = now - text.queued_at, text.attempts + 1, seat.id
            self.in_flight += len(chosen)
            seat.send(chosen)

    def settle(self, texts: Sequence[Text], logits: Sequence[list[float]], compute_s: float) -> None:
        """Give answered texts their logits."""
        self.in_flight -= len(texts)
        for text, row in zip(texts, logits, strict=True):
            text.compute_s = compute_s
            if not text.logits.done():
                text.logits.set_result(row)
        self.figures.compute_s.observe(compute_s)

    def fail(self, texts: Sequence[Text], error: PlatformError) -> None:
        """Give up on texts that an engine could not judge."""
        self.in_flight -= len(texts)
        for text in texts:
            if not text.logits.done():
                text.logits.set_exception(error)

    def put_back(self, texts: Sequence[Text]) -> None:
        """Queue again, at the front, what was in flight on a replica that is gone: nobody has to notice."""
        self.in_flight -= len(texts)
        again = [text for text in texts if not text.logits.done()]
        for text in again:
            if text.attempts >= MAX_ATTEMPTS:
                text.logits.set_exception(
                    InternalError(f"{text.attempts} replicas died over this text", code="replicas_died")
                )
        self.waiting = [text for text in again if text.attempts < MAX_ATTEMPTS] + self.waiting
        self.dispatch()

    def follow(self, route: Route) -> None:
        """Use *route* from now on; texts that were queued for another version keep it while it has replicas."""
        self.route = route
        self.dispatch()

    def _seat(self, digest: str) -> Seat | None:
        free = [seat for seat in self.seats.values() if seat.digest == digest and seat.has_room()]
        return min(free, key=lambda seat: seat.outstanding_tokens, default=None)

    def _is_orphan(self, text: Text) -> bool:
        return text.digest != self.route.digest and all(seat.digest != text.digest for seat in self.seats.values())

    def _forget(self, texts: Sequence[Text]) -> None:
        for text in texts:
            if not text.logits.done():
                text.logits.cancel()
                if text in self.waiting:
                    self.waiting.remove(text)
            elif not text.logits.cancelled():
                _ = text.logits.exception()  # noqa: LOG004  # looked at, so that asyncio does not warn

    def _too_late(self) -> PlatformError:
        waited = self.route.queue_deadline_ms
        if not self.seats:
            return UnavailableError(
                f"no replica of {self.route.deployment} became ready within {waited} ms",
                code="no_replica_ready",
                hint="see the deployment's status; try again after Retry-After",
                retry_after_s=2.0,
            )
        return DeadlineExceededError(
            f"{self.route.deployment} did not answer within {waited} ms",
            hint="try again later, or raise queue_deadline_ms",
            retry_after_s=1.0,
        )
