"""Charts as plain data: what is drawn and where it comes from; static/charts.js draws it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

Chart: TypeAlias = dict[str, Any]
Points: TypeAlias = Sequence[tuple[float, float]]


def line(name: str, points: Points, *, live: tuple[str, str] | None = None) -> dict[str, Any]:
    """Return one line of a chart; *live* names the subject and figure whose events extend it."""
    return {"name": name, "points": [list(point) for point in points], "live": list(live) if live else None}


def over_time(
    lines: Iterable[dict[str, Any]], *, unit: str = "", window_s: float = 900, is_area: bool = False
) -> Chart:
    """Return lines over the clock; the points are [epoch seconds, value]."""
    return {"kind": "time", "lines": list(lines), "unit": unit, "window_s": window_s, "is_area": is_area}


def over_steps(lines: Iterable[dict[str, Any]], *, unit: str = "") -> Chart:
    """Return lines over training steps; the points are [step, value]."""
    return {"kind": "steps", "lines": list(lines), "unit": unit}


def spark(points: Points, *, live: tuple[str, str] | None = None, window_s: float = 900) -> Chart:
    """Return a small line without axes."""
    return {"kind": "spark", "lines": [line("", points, live=live)], "unit": "", "window_s": window_s}


def columns(values: Mapping[str, float], *, unit: str = "") -> Chart:
    """Return upright columns from left to right."""
    return {"kind": "columns", "names": list(values), "values": list(values.values()), "unit": unit}


def stacks(groups: Mapping[str, Mapping[str, float]]) -> Chart:
    """Return one bar per group, divided into its parts."""
    parts = list(dict.fromkeys(part for values in groups.values() for part in values))
    rows = [{"name": part, "values": [values.get(part, 0) for values in groups.values()]} for part in parts]
    return {"kind": "stacks", "names": list(groups), "parts": rows, "unit": ""}


def intervals(rows: Iterable[tuple[str, float, float, float]]) -> Chart:
    """Return values with their confidence intervals: (name, low, value, high)."""
    return {"kind": "intervals", "rows": [list(row) for row in rows], "unit": ""}
