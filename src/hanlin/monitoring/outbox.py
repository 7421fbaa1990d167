"""What is still to be told to one channel, told at least once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hanlin.domain import Alert, AlertId, ChannelId, PlatformError
from hanlin.monitoring.webhooks import WebhookSender

PAUSE_S = 1.0  # between two messages to a channel
MOST_ALERTS = 100  # in one message
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 30.0

logger = logging.getLogger(__name__)
Told = Callable[[Sequence[Alert], datetime], Awaitable[None]]
Address = Callable[[ChannelId], Awaitable[tuple[str, str, str] | None]]


class Outbox:
    """
    Gathers the alerts for one channel and sends them: one message a second with all that changed.

    A message that cannot be delivered is sent again, with the same id, after 1 s, 2 s, 4 s … at most 30 s, until it
    is received or the channel is gone; alerts that come meanwhile wait for the next message. Only what was received
    is marked as told, so a crash may tell twice but never nothing.
    """

    def __init__(
        self,
        channel: ChannelId,
        sender: WebhookSender,
        *,
        address: Address,
        told: Told,
        clock: Callable[[], datetime],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._channel, self._sender, self._address, self._told = channel, sender, address, told
        self._clock, self._pause = clock, pause
        self._waiting: dict[AlertId, Alert] = {}
        self._wake = asyncio.Event()
        self.trouble = ""  # the code of the last failure; empty when all is well

    def put(self, alert: Alert) -> None:
        """Tell the channel about *alert* in the state it is in; an earlier state that still waits is left out."""
        self._waiting[alert.id] = alert
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            await self._wake.wait()
            batch = [self._waiting.pop(alert_id) for alert_id in list(self._waiting)[:MOST_ALERTS]]
            if not self._waiting:
                self._wake.clear()
            if batch and (sent_at := await self._deliver(batch)) is not None:
                await self._told(batch, sent_at)
            await self._pause(PAUSE_S)

    async def _deliver(self, batch: Sequence[Alert]) -> datetime | None:
        """Send until it is received; return when that message was made, or None when the channel is gone."""
        failures = 0
        while (address := await self._address(self._channel)) is not None:
            name, url, secret = address
            made_at = self._clock()
            body = message(name, batch, made_at)
            try:
                await self._sender.send(
                    url,
                    secret=secret,
                    message_id=message_id(self._channel, batch),
                    timestamp=int(made_at.timestamp()),
                    body=body,
                )
            except PlatformError as error:
                failures += 1
                self.trouble = error.code
                logger.warning("alert not delivered", extra={"channel": self._channel, "code": error.code})
                await self._pause(error.retry_after_s or retry_s(failures, random.random()))  # noqa: S311 - jitter
            else:
                self.trouble = ""
                return made_at
        return None


def retry_s(failures: int, jitter: float) -> float:
    """Return the pause after *failures* failures in a row; *jitter* in [0, 1) moves a quarter of it."""
    return min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 10)) * (0.75 + jitter / 4)


def message_id(channel: ChannelId, batch: Sequence[Alert]) -> str:
    """Return an id that the same news to the same channel always has, so that receivers can leave repetitions out."""
    news = json.dumps([channel, sorted((alert.id, alert.resolved_at is not None) for alert in batch)])
    return f"msg_{hashlib.sha256(news.encode()).hexdigest()[:32]}"


def message(channel: str, batch: Sequence[Alert], at: datetime) -> bytes:
    """Return the body of a message: what changed, in the shape of Standard Webhooks."""
    body = {
        "type": "monitoring.alerts_changed",
        "timestamp": at.isoformat(),
        "data": {"channel": channel, "alerts": [_shown(alert) for alert in batch]},
    }
    return json.dumps(body, ensure_ascii=False).encode()


def needs_telling(alert: Alert) -> bool:
    """Whether the channel does not know the state that *alert* is in."""
    is_unknown = alert.notified_at is None
    return is_unknown or (alert.resolved_at is not None and alert.notified_at <= alert.resolved_at)  # type: ignore[operator]


def told_at(alert: Alert, sent_at: datetime) -> datetime:
    """Return what to note as notified_at, so that needs_telling stays true only if the alert changed after that."""
    if alert.resolved_at is None:
        return sent_at
    return max(sent_at, alert.resolved_at + timedelta(microseconds=1))


def _shown(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "state": "firing" if alert.resolved_at is None else "resolved",
        "rule": alert.rule_name,
        "rule_id": alert.rule_id,
        "subject": alert.subject,
        "severity": alert.severity,
        "value": alert.value,
        "fired_at": alert.fired_at.astimezone(UTC).isoformat(),
        "resolved_at": None if alert.resolved_at is None else alert.resolved_at.astimezone(UTC).isoformat(),
    }
