"""Alert rules and channels as operators keep them, and the loop that evaluates and tells."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from hanlin.domain import (
    Alert,
    AlertId,
    AlertRule,
    AlertRuleId,
    Channel,
    ChannelId,
    Comparison,
    InvalidInputError,
    StorageFullError,
    new_id,
)
from hanlin.monitoring.outbox import Outbox, needs_telling, told_at
from hanlin.monitoring.rules import Memory, evaluate
from hanlin.monitoring.targets import check_url
from hanlin.monitoring.vocabulary import SERIES_NAMES, SeriesKey
from hanlin.monitoring.webhooks import ChannelSecrets, WebhookSender
from hanlin.store import Store

logger = logging.getLogger(__name__)
SEVERITIES = ("info", "warning", "critical")
LOOK_BACK = 1000  # closed alerts looked at after a restart for news that was never delivered


def utc_now() -> datetime:
    """Return the present instant."""
    return datetime.now(UTC)


class AlertRules:
    """Creates rules and channels; *allowed* are the hosts that webhooks may be sent to."""

    def __init__(
        self,
        store: Store,
        secrets: ChannelSecrets,
        *,
        allowed: Sequence[str],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store, self._secrets, self._allowed, self._clock = store, secrets, tuple(allowed), clock

    def create_rule(
        self,
        *,
        name: str,
        series: str,
        threshold: float,
        by: str,
        deployment: str = "*",
        comparison: Comparison = Comparison.ABOVE,
        for_s: float = 0.0,
        channel_id: str | None = None,
        severity: str = "warning",
    ) -> AlertRule:
        """Keep a rule; ``alert_rule_invalid`` for an unknown series or severity, NotFoundError for a channel."""
        _check("series", series, sorted(SERIES_NAMES))
        _check("severity", severity, SEVERITIES)
        if not (math.isfinite(threshold) and math.isfinite(for_s) and for_s >= 0):
            raise _invalid("threshold", f"threshold is {threshold} for {for_s} s", "finite numbers")
        channel = None if channel_id is None else self._store.channels.get(channel_id).id
        rule = AlertRule(
            id=AlertRuleId(new_id("rule")),
            name=name,
            series=series,
            deployment=deployment,
            comparison=comparison,
            threshold=threshold,
            for_s=for_s,
            channel_id=channel,
            created_by=by,
            created_at=self._clock(),
            severity=severity,
        )
        return self._store.alert_rules.add(rule)

    def create_channel(self, name: str, url: str, *, by: str) -> tuple[Channel, str]:
        """Keep a webhook and return it with its new secret; raises what check_url raises for other hosts."""
        check_url(url, self._allowed)
        channel = Channel(id=ChannelId(new_id("channel")), name=name, url=url, created_by=by, created_at=self._clock())
        secret = self._secrets.create(channel.id)
        return self._store.channels.add(channel), secret


def _check(what: str, found: str, known: Sequence[str]) -> None:
    if found not in known:
        raise _invalid(what, f"{what} is {found!r}", f"one of {', '.join(known)}")


def _invalid(what: str, message: str, hint: str) -> InvalidInputError:
    return InvalidInputError(message, code="alert_rule_invalid", hint=hint, param=what)


class AlertLoop:
    """
    Evaluates the rules on the latest figures, keeps what fires and what is over, and tells the channels.

    An alert is in the store before anybody is told. Belongs to one event loop; only one may run on a store.
    """

    def __init__(
        self,
        store: Store,
        sender: WebhookSender,
        secrets: ChannelSecrets,
        values: Callable[[], Mapping[SeriesKey, float]],
        *,
        clock: Callable[[], datetime] = utc_now,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store, self._sender, self._secrets, self._values = store, sender, secrets, values
        self._clock, self._pause = clock, pause
        self._memory = Memory()
        self._outboxes: dict[ChannelId, Outbox] = {}
        self._channel_of: dict[AlertId, ChannelId] = {}

    async def run(self, *, evaluate_s: float = 1.0) -> None:
        """Evaluate every *evaluate_s* seconds and deliver, until cancelled; first of all what a crash left untold."""
        async with asyncio.TaskGroup() as deliveries:
            self._tell(await asyncio.to_thread(self._untold), deliveries)
            while True:
                try:
                    self._tell(await asyncio.to_thread(self.tick), deliveries)
                except StorageFullError as error:
                    logger.warning("alerts not kept; trying again", extra={"error": error.message})
                await asyncio.sleep(evaluate_s)

    def tick(self) -> list[Alert]:
        """Evaluate once; return the alerts that fired or are over, as they were stored."""
        with self._store.transaction():
            rules = list(self._store.alert_rules.iter())
            was = {alert.id: alert for alert in self._store.alerts.iter(is_open=1)}
            decision = evaluate(
                rules, self._values(), list(was.values()), self._memory, self._clock(), lambda: AlertId(new_id("alert"))
            )
            for alert in decision.fired:
                self._store.alerts.add(alert)
            for alert in decision.resolved:
                self._store.alerts.replace(alert, was=was[alert.id])
        self._memory = decision.memory
        changed = [*decision.fired, *decision.resolved]
        self._learn_channels(rules, changed)
        return changed

    def troubles(self) -> dict[ChannelId, str]:
        """Return the error code of each channel whose last delivery failed."""
        return {channel: outbox.trouble for channel, outbox in self._outboxes.items() if outbox.trouble}

    def _untold(self) -> list[Alert]:
        latest = self._store.alerts.list(limit=LOOK_BACK, newest_first=True, is_open=0).items
        known = [*self._store.alerts.iter(is_open=1), *latest]
        untold = [alert for alert in known if needs_telling(alert)]
        self._learn_channels(list(self._store.alert_rules.iter()), untold)
        return untold

    def _learn_channels(self, rules: Sequence[AlertRule], alerts: Sequence[Alert]) -> None:
        """Remember whom to tell about each alert, also when its rule is deleted before the alert is over."""
        by_rule = {rule.id: rule.channel_id for rule in rules}
        for alert in alerts:
            if (channel := by_rule.get(alert.rule_id)) is not None:
                self._channel_of[alert.id] = channel

    def _tell(self, alerts: Sequence[Alert], deliveries: asyncio.TaskGroup) -> None:
        for alert in alerts:
            if (channel := self._channel_of.get(alert.id)) is not None:
                self._outbox(channel, deliveries).put(alert)

    def _outbox(self, channel: ChannelId, deliveries: asyncio.TaskGroup) -> Outbox:
        if channel not in self._outboxes:
            self._outboxes[channel] = Outbox(
                channel,
                self._sender,
                address=self._address,
                told=self._told,
                clock=self._clock,
                pause=self._pause,
            )
            deliveries.create_task(self._outboxes[channel].run())
        return self._outboxes[channel]

    async def _address(self, channel: ChannelId) -> tuple[str, str, str] | None:
        found = await asyncio.to_thread(self._store.channels.find, channel)
        secret = self._secrets.find(channel)
        if found is None or secret is None:
            self._secrets.remove(channel)
            return None
        return found.name, found.url, secret

    async def _told(self, alerts: Sequence[Alert], sent_at: datetime) -> None:
        try:
            await asyncio.to_thread(self._note_told, alerts, sent_at)
        except StorageFullError as error:  # told again after a restart: rather twice than never
            logger.warning("delivery not noted", extra={"error": error.message})
        for alert in alerts:
            if alert.resolved_at is not None:
                self._channel_of.pop(alert.id, None)

    def _note_told(self, alerts: Sequence[Alert], sent_at: datetime) -> None:
        with self._store.transaction():
            for alert in alerts:
                if (current := self._store.alerts.find(alert.id)) is not None:
                    self._store.alerts.replace(replace(current, notified_at=told_at(alert, sent_at)), was=current)
