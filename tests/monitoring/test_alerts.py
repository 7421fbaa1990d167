from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.monitoring.receiver import Receiver

from hanlin.domain import Comparison, InvalidInputError, NotFoundError
from hanlin.monitoring import AlertLoop, AlertRules, ChannelSecrets, SeriesKey, WebhookSender
from hanlin.store import Store

READY = SeriesKey("replicas_ready", "reviews")


class Bench:
    """A store with one rule on one channel, and figures that the test sets."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.store = Store.open(folder / "store.sqlite3")
        self.secrets = ChannelSecrets(folder)
        self.sender = WebhookSender([receiver.listed])
        self.rules = AlertRules(self.store, self.secrets, allowed=[receiver.listed])
        self.values: dict[SeriesKey, float] = {READY: 2.0}
        self.channel, _ = self.rules.create_channel("ops", receiver.url, by="ann")
        self.pauses: list[float] = []

    def watch(self, **fields: Any) -> None:
        """Add a rule: no replica ready."""
        rule: dict[str, Any] = {
            "name": "no replicas",
            "series": "replicas_ready",
            "threshold": 1.0,
            "comparison": Comparison.BELOW,
            "channel_id": self.channel.id,
            "by": "ann",
        }
        self.rules.create_rule(**(rule | fields))

    async def pause(self, seconds: float) -> None:
        """Note how long would have been waited, and wait shortly."""
        self.pauses.append(seconds)
        await asyncio.sleep(0.01)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[AlertLoop]:
        """Run the loop around a block, then end it as a crash would."""
        loop = AlertLoop(self.store, self.sender, self.secrets, lambda: dict(self.values), pause=self.pause)
        task = asyncio.create_task(loop.run(evaluate_s=0.02))
        try:
            yield loop
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def bench(tmp_path: Path, receiver: Receiver) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, receiver)
    yield bench
    bench.store.close()


async def until(is_reached: Callable[[], bool], timeout_s: float = 5.0) -> float:
    started = time.monotonic()
    while not is_reached():
        assert time.monotonic() - started < timeout_s
        await asyncio.sleep(0.005)
    return time.monotonic() - started


def states(receiver: Receiver) -> list[str]:
    return [alert["state"] for got in receiver.received for alert in got.alerts]


class TestAlertLoop:
    async def test_tells_the_channel_when_it_fires_and_when_it_is_over(self, bench: Bench, receiver: Receiver) -> None:
        """From a bad figure to the webhook takes less than five seconds, and the end is told too."""
        bench.watch()
        async with bench.running():
            bench.values[READY] = 0.0
            took_s = await until(lambda: states(receiver) == ["firing"])
            bench.values[READY] = 2.0
            await until(lambda: states(receiver) == ["firing", "resolved"])
            await until(lambda: _is_told(bench))

        alert = bench.store.alerts.list().items[0]
        assert took_s < 5
        assert alert.notified_at is not None
        assert alert.resolved_at is not None
        assert receiver.received[0].alerts[0]["subject"] == "reviews"

    async def test_nothing_is_lost_over_an_outage(self, bench: Bench, receiver: Receiver) -> None:
        """While the receiver is away each message is tried again, ever more slowly, with the same id."""
        bench.watch()
        receiver.answer = lambda n: (503, {}) if n < 7 else (204, {})
        async with bench.running() as loop:
            bench.values[READY] = 0.0
            await until(lambda: len(receiver.received) > 2)
            assert loop.troubles() == {bench.channel.id: "webhook_failed"}
            await until(lambda: _is_told(bench))
            assert loop.troubles() == {}

        assert len({got.headers["webhook-id"] for got in receiver.received}) == 1
        assert len(receiver.received) == 8
        assert bench.pauses[:6] == sorted(bench.pauses[:6])
        assert max(bench.pauses) <= 30

    async def test_a_crash_before_delivery_is_made_good(self, bench: Bench, receiver: Receiver) -> None:
        """An alert that fired and ended untold is told after the restart, as over."""
        bench.watch()
        receiver.stop()
        async with bench.running():
            bench.values[READY] = 0.0
            await until(lambda: len(bench.store.alerts.list(is_open=1).items) == 1)
            bench.values[READY] = 2.0
            await until(lambda: len(bench.store.alerts.list(is_open=0).items) == 1)
        receiver.start()

        async with bench.running():
            await until(lambda: _is_told(bench))

        assert states(receiver) == ["resolved"]

    async def test_what_was_told_is_not_told_again(self, bench: Bench, receiver: Receiver) -> None:
        """A restart repeats nothing that was received."""
        bench.watch()
        bench.values[READY] = 0.0
        async with bench.running():
            await until(lambda: _is_told(bench))
        bench.watch(name="second")
        async with bench.running():
            await until(lambda: len(states(receiver)) == 2)

        assert [alert["rule"] for got in receiver.received for alert in got.alerts] == ["no replicas", "second"]

    async def test_a_storm_comes_in_few_messages(self, bench: Bench, receiver: Receiver) -> None:
        """Five hundred alerts at once are told in full, a hundred at a time, one message a second."""
        bench.watch()
        async with bench.running():
            bench.values |= {SeriesKey("replicas_ready", f"d{n}"): 0.0 for n in range(500)}
            await until(lambda: len(states(receiver)) == 500, timeout_s=20)
            await until(lambda: _is_told(bench), timeout_s=20)

        subjects = {alert["subject"] for got in receiver.received for alert in got.alerts}
        assert len(subjects) == 500
        assert len(receiver.received) <= 6
        assert bench.pauses.count(1.0) >= len(receiver.received) - 1

    async def test_a_removed_channel_is_left_alone(self, bench: Bench, receiver: Receiver) -> None:
        """Deleting the channel ends the attempts and its secret."""
        bench.watch()
        receiver.answer = lambda _: (500, {})
        async with bench.running():
            bench.values[READY] = 0.0
            await until(lambda: len(receiver.received) > 1)
            bench.store.channels.remove(bench.channel.id)
            await until(lambda: bench.secrets.find(bench.channel.id) is None)


class TestAlertRules:
    async def test_refuses_what_cannot_work(self, bench: Bench) -> None:
        """Unknown series, severities, thresholds and channels are named when the rule is made."""
        for wrong in ({"series": "temperature"}, {"severity": "loud"}, {"threshold": float("nan")}):
            with pytest.raises(InvalidInputError) as caught:
                bench.watch(**wrong)
            assert caught.value.code == "alert_rule_invalid"
        with pytest.raises(NotFoundError):
            bench.watch(channel_id="channel_none")

    async def test_refuses_a_channel_to_an_unlisted_host(self, bench: Bench) -> None:
        """A webhook host has to be on the allow-list when the channel is made."""
        with pytest.raises(InvalidInputError) as caught:
            bench.rules.create_channel("ops", "https://elsewhere.example.com/", by="ann")

        assert caught.value.code == "webhook_host_not_allowed"


def _is_told(bench: Bench) -> bool:
    alerts = bench.store.alerts.list(limit=1000).items
    return bool(alerts) and all(
        a.notified_at is not None and a.notified_at > (a.resolved_at or a.fired_at) for a in alerts
    )
