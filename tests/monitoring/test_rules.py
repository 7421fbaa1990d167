from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from hanlin.domain import Alert, AlertId, AlertRule, AlertRuleId, Comparison
from hanlin.monitoring import Decision, Memory, SeriesKey, evaluate

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
RULE = AlertRule(
    id=AlertRuleId("r"),
    name="replicas missing",
    series="replicas_ready",
    deployment="*",
    comparison=Comparison.BELOW,
    threshold=1.0,
    for_s=10.0,
    channel_id=None,
    created_by="ann",
    created_at=NOON,
)
numbers = count()


def look(
    value: float | None,
    second: float,
    memory: Memory | None = None,
    alerts: Sequence[Alert] = (),
    rules: Sequence[AlertRule] = (RULE,),
) -> Decision:
    values: Mapping[SeriesKey, float] = {} if value is None else {SeriesKey("replicas_ready", "reviews"): value}
    now = NOON + timedelta(seconds=second)
    return evaluate(rules, values, alerts, memory or Memory(), now, lambda: AlertId(f"a{next(numbers)}"))


class TestEvaluate:
    def test_fires_once_the_figure_was_bad_long_enough(self) -> None:
        """A rule waits for its time, then fires once."""
        first = look(0, 0)
        second = look(0, 9.9, first.memory)
        third = look(0, 10, second.memory)
        fourth = look(0, 11, third.memory, third.fired)

        assert [len(d.fired) for d in (first, second, third, fourth)] == [0, 0, 1, 0]
        assert (third.fired[0].subject, third.fired[0].value) == ("reviews", 0)

    def test_a_break_starts_the_time_anew(self) -> None:
        """A figure that was good in between has not been bad for long."""
        memory = look(0, 0).memory
        memory = look(1, 5, memory).memory
        memory = look(0, 6, memory).memory

        assert look(0, 12, memory).fired == []
        assert len(look(0, 16, memory).fired) == 1

    def test_resolves_when_the_figure_is_good_again(self) -> None:
        """The alert is closed with the time at which that was seen."""
        fired = look(0, 10, look(0, 0).memory)

        decision = look(1, 20, fired.memory, fired.fired)

        assert [alert.resolved_at for alert in decision.resolved] == [NOON + timedelta(seconds=20)]

    def test_keeps_an_alert_open_while_its_figure_is_absent_for_short(self) -> None:
        """A gap does not close an alert; a minute without the figure does."""
        fired = look(0, 10, look(0, 0).memory)
        gap = look(None, 30, fired.memory, fired.fired)
        end = look(None, 75, gap.memory, fired.fired)

        assert (len(gap.resolved), len(end.resolved)) == (0, 1)

    def test_closes_alerts_of_rules_that_are_gone_or_off(self) -> None:
        """Nothing stays open for a rule that nobody evaluates."""
        fired = look(0, 10, look(0, 0).memory)

        assert len(look(0, 11, fired.memory, fired.fired, rules=()).resolved) == 1
        assert len(look(0, 11, fired.memory, fired.fired, rules=(replace(RULE, is_active=False),)).resolved) == 1

    def test_a_rule_for_one_deployment_ignores_others(self) -> None:
        """Only the named subject is watched."""
        rule = replace(RULE, deployment="other", for_s=0.0)

        assert look(0, 0, rules=(rule,)).fired == []

    @given(values=st.lists(st.sampled_from([0.0, 1.0, None]), max_size=60))
    def test_there_is_at_most_one_open_alert_per_rule_and_subject(self, values: list[float | None]) -> None:
        """Whatever the figures do, alerts of one rule on one subject never overlap."""
        memory, open_alerts = Memory(), list[Alert]()
        for second, value in enumerate(values):
            decision = look(value, second * 7, memory, open_alerts)
            closed = {alert.id for alert in decision.resolved}
            open_alerts = [*(a for a in open_alerts if a.id not in closed), *decision.fired]
            memory = decision.memory

            assert len(open_alerts) <= 1
            assert closed.isdisjoint(alert.id for alert in decision.fired)
