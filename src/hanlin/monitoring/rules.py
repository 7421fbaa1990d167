"""Alert rules as one pure decision: which alerts fire now, and which are over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from hanlin.domain import Alert, AlertId, AlertRule, AlertRuleId
from hanlin.monitoring.vocabulary import SeriesKey

ABSENT = timedelta(seconds=60)  # an alert about a figure that is there no more is over after this


class Watched(NamedTuple):
    """One rule on one subject."""

    rule_id: AlertRuleId
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What has to be remembered from one evaluation to the next."""

    bad_since: Mapping[Watched, datetime] = field(default_factory=dict)
    seen_at: Mapping[Watched, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Alerts to open, alerts as they are when closed, and what to remember."""

    fired: Sequence[Alert]
    resolved: Sequence[Alert]
    memory: Memory


def evaluate(
    rules: Sequence[AlertRule],
    values: Mapping[SeriesKey, float],
    open_alerts: Sequence[Alert],
    memory: Memory,
    now: datetime,
    new_id: Callable[[], AlertId],
) -> Decision:
    """
    Hold *values* against *rules*.

    A rule fires for a subject once its figure was on the wrong side for the rule's time without a break, and once
    only until that alert is over: when the figure is good again, when it has been absent for a minute, or when the
    rule is gone or no longer active. Pure, so that it can be tested in a table.
    """
    active = [rule for rule in rules if rule.is_active]
    figures = {Watched(r.id, subject): value for r in active for subject, value in _subjects(r, values).items()}
    by_id = {rule.id: rule for rule in active}
    bad = {key for key, value in figures.items() if _is_bad(by_id[key.rule_id], value)}
    bad_since = {key: memory.bad_since.get(key, now) for key in bad}
    is_open = {Watched(alert.rule_id, alert.subject) for alert in open_alerts}

    watched = {**dict.fromkeys(is_open, now), **memory.seen_at, **dict.fromkeys(figures, now)}
    seen_at = {key: at for key, at in watched.items() if key in is_open or key in figures}

    def is_over(alert: Alert) -> bool:
        key = Watched(alert.rule_id, alert.subject)
        is_good = key in figures and key not in bad
        return is_good or alert.rule_id not in by_id or now - seen_at[key] >= ABSENT

    fired = [
        _alert(by_id[key.rule_id], key.subject, figures[key], now, new_id())
        for key, since in sorted(bad_since.items())
        if key not in is_open and now - since >= timedelta(seconds=by_id[key.rule_id].for_s)
    ]
    resolved = [replace(alert, resolved_at=now) for alert in open_alerts if is_over(alert)]
    return Decision(fired=fired, resolved=resolved, memory=Memory(bad_since=bad_since, seen_at=seen_at))


def _subjects(rule: AlertRule, values: Mapping[SeriesKey, float]) -> dict[str, float]:
    return {
        key.subject: value
        for key, value in values.items()
        if key.name == rule.series and rule.deployment in {"*", key.subject}
    }


def _is_bad(rule: AlertRule, value: float) -> bool:
    return rule.comparison.holds(value, rule.threshold)


def _alert(rule: AlertRule, subject: str, value: float, now: datetime, alert_id: AlertId) -> Alert:
    return Alert(
        id=alert_id,
        rule_id=rule.id,
        rule_name=rule.name,
        subject=subject,
        value=value,
        severity=rule.severity,
        fired_at=now,
    )
