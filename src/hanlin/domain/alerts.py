"""Alert rules, the alerts they raise, and the channels that carry them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hanlin.domain.ids import AlertId, AlertRuleId, ChannelId


class Comparison(StrEnum):
    """How a rule compares a figure with its threshold."""

    ABOVE = "above"
    BELOW = "below"

    def holds(self, value: float, threshold: float) -> bool:
        """Whether *value* is on the alarming side of *threshold*."""
        return value > threshold if self is Comparison.ABOVE else value < threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """Fires when a series stays on the wrong side of a threshold for a while."""

    id: AlertRuleId
    name: str
    series: str  # a name of the metric vocabulary, e.g. replicas_ready
    deployment: str  # name, or * for each
    comparison: Comparison
    threshold: float
    for_s: float
    channel_id: ChannelId | None
    created_by: str
    created_at: datetime
    severity: str = "warning"
    is_active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One time that a rule fired for one subject; open until the figure is good again."""

    id: AlertId
    rule_id: AlertRuleId
    rule_name: str
    subject: str
    value: float
    severity: str
    fired_at: datetime
    resolved_at: datetime | None = None
    notified_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A webhook that alerts are sent to; its host must be on the allow-list of the settings."""

    id: ChannelId
    name: str
    url: str
    created_by: str
    created_at: datetime
