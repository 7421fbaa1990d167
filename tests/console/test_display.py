from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from markupsafe import Markup

from hanlin.console.display import duration, milliseconds, number, pairs, percent, short, size, span, visible, when


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "shown"),
        [(None, "–"), (0, "0"), (0.0, "0"), (0.1234, "0.123"), (3.456, "3.46"), (45.67, "45.7"), (12345.6, "12,346")],
    )
    def test_about_three_figures_count(self, value: float | None, shown: str) -> None:
        """Small numbers keep their digits, large ones get separators, missing ones a dash."""
        assert number(value) == shown

    def test_units_follow(self) -> None:
        """Ratios, milliseconds and bytes carry their unit."""
        assert (percent(0.8328, 2), milliseconds(3.39), size(23_785_924)) == ("83.28 %", "3.39 ms", "23.8 MB")
        assert (percent(None), milliseconds(None), size(None)) == ("–", "–", "–")

    @pytest.mark.parametrize(
        ("seconds", "shown"), [(0.42, "0.4 s"), (42, "42 s"), (204, "3 min 24 s"), (7200, "2 h"), (90_000, "1 d 1 h")]
    )
    def test_spans_show_their_two_largest_units(self, seconds: float, shown: str) -> None:
        """A reader sees the size of a span at once."""
        assert duration(seconds) == shown


class TestInstants:
    def test_are_machine_readable(self) -> None:
        """A time element carries the instant, so that the page can show it in the reader's zone."""
        at = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)

        assert when(at) == '<time datetime="2026-01-31T12:00:00.000+00:00">2026-01-31 12:00:00 UTC</time>'
        assert when(None) == "–"
        assert when("<b>") == "&lt;b&gt;"

    def test_spans_end_now_when_they_have_not_ended(self) -> None:
        """What is under way has taken until now."""
        assert span(datetime.now(UTC) - timedelta(seconds=42), None) == "42 s"
        assert span(None, None) == "–"


class TestTexts:
    def test_characters_that_reorder_are_shown(self) -> None:
        """A right-to-left override cannot make a name read as another one."""
        assert visible("a\u202eb") == "a⟨U+202E⟩b"
        assert visible(Markup("<b>")) == Markup("<b>")
        assert visible(None) == "–"

    def test_digests_are_cut(self) -> None:
        """A digest is recognised by its beginning."""
        assert short("sha256:" + "a" * 64) == "a" * 12 + "…"
        assert short("abc") == "abc"

    def test_pairs_leave_nested_and_empty_values_out(self) -> None:
        """Only what fits on a line is listed."""
        assert pairs({"a": 1, "b": None, "c": "", "d": {}, "e": [1], "f": "x"}) == [("a", 1), ("f", "x")]
        assert pairs(None) == []
