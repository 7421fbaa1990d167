"""How values look: numbers, spans, instants, sizes. Pure, and the same in every template."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from markupsafe import Markup, escape

MISSING = "–"
STEERING = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # characters that reorder the text around them
SIZES = ("B", "kB", "MB", "GB", "TB")


def visible(value: object) -> object:
    """Return a text with characters that would reorder it shown as their code points; anything else as it is."""
    if value is None:
        return MISSING
    if isinstance(value, str) and not isinstance(value, Markup) and STEERING.search(value):
        return STEERING.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", value)
    return value


def number(value: object, digits: int | None = None) -> str:
    """Return a number with separators; without *digits*, about three figures that count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return MISSING if value is None else str(value)
    if isinstance(value, int) or (digits is None and abs(value) >= 1000):
        return f"{value:,.0f}"
    if digits is None:
        digits = 0 if value == 0 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def percent(value: object, digits: int = 1) -> str:
    """Return a ratio as a percentage."""
    return f"{value * 100:.{digits}f} %" if isinstance(value, int | float) else MISSING


def milliseconds(value: object) -> str:
    """Return a span given in milliseconds."""
    return f"{number(float(value))} ms" if isinstance(value, int | float) else MISSING


def duration(value: object) -> str:
    """Return a span given in seconds in its two largest units."""
    if not isinstance(value, int | float):
        return MISSING
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    seconds = round(value)
    parts = ((seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
    first = next(index for index, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def size(value: object) -> str:
    """Return a number of bytes in decimal units."""
    if not isinstance(value, int | float):
        return MISSING
    amount, unit = float(value), 0
    while amount >= 1000 and unit < len(SIZES) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.0f} {SIZES[unit]}" if unit < 2 or amount >= 100 else f"{amount:.1f} {SIZES[unit]}"


def short(digest: object, length: int = 12) -> str:
    """Return the beginning of a digest or id."""
    plain = str(digest).removeprefix("sha256:")
    return plain if len(plain) <= length else f"{plain[:length]}…"


def when(value: object) -> Markup | str:
    """Return an instant as a time element in UTC; the page shows it in the reader's own time zone."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return str(escape(value))
    if not isinstance(value, datetime):
        return MISSING
    at = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        at.isoformat(timespec="milliseconds"), at.strftime("%Y-%m-%d %H:%M:%S")
    )


def span(begun: object, ended: object) -> str:
    """Return how long something took, or has taken until now."""
    if not isinstance(begun, datetime):
        return MISSING
    until = ended if isinstance(ended, datetime) else datetime.now(UTC)
    return duration(max(0.0, (until - begun).total_seconds()))


def pairs(mapping: object) -> list[tuple[str, object]]:
    """Return the items of a mapping that are worth a line of their own: neither empty nor nested."""
    if not isinstance(mapping, Mapping):
        return []
    return [
        (str(k), v) for k, v in mapping.items() if v not in (None, "") and not isinstance(v, Mapping | list | tuple)
    ]


def pretty_json(value: object) -> str:
    """Return a value as JSON for people."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


FILTERS = {
    "number": number,
    "percent": percent,
    "ms": milliseconds,
    "duration": duration,
    "size": size,
    "short": short,
    "when": when,
    "pairs": pairs,
    "json": pretty_json,
}
