"""The profile counts what it says it counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hanlin.corpora import Row, normalised, profile, text_key

rows = st.lists(
    st.builds(
        Row,
        text=st.text(alphabet="ab 　Ａ", max_size=4),
        label=st.sampled_from(["x", "y"]),
        split=st.sampled_from([None, "train", "test"]),
    ),
    max_size=30,
)


class TestNormalised:
    def test_ignores_width_and_white_space(self) -> None:
        """Full-width letters and any white space make no difference; anything else does."""
        assert normalised("　ＡＢＣ　１２\u00a03\t") == "ABC 12 3"
        assert text_key("利率 5％") == text_key("利率\n５%")
        assert text_key("好") != text_key("好。")


class TestProfile:
    def test_counts_rows_labels_and_lengths(self) -> None:
        """Lengths are characters, by the nearest rank; labels come most frequent first."""
        found = profile([Row("a" * n, "many" if n > 2 else "few") for n in range(1, 101)])

        assert (found.rows, found.characters) == (100, 5050)
        assert found.lengths == {"p50": 50, "p90": 90, "p99": 99, "max": 100}
        assert list(found.labels.items()) == [("many", 98), ("few", 2)]

    def test_finds_duplicates_and_contradictions(self) -> None:
        """The same text again is a duplicate; with another label it contradicts as well."""
        found = profile(
            [Row("好 评", "正"), Row("好　评", "正"), Row("一般", "正"), Row("一般", "负"), Row("  ", "负")]
        )

        assert (found.rows, found.empty, found.duplicates, found.label_conflicts) == (5, 1, 2, 1)

    def test_finds_leakage_between_given_splits(self) -> None:
        """A text that stands in two splits is counted for that pair."""
        found = profile([Row("a", "x", "train"), Row("b", "x", "train"), Row("a", "x", "test"), Row("c", "y", "test")])

        assert found.leakage == {"train/test": 1}
        assert found.splits == {"train": {"x": 2}, "test": {"x": 1, "y": 1}}

    def test_of_nothing_is_empty(self) -> None:
        """No rows are no error here."""
        assert profile([]).rows == 0
        assert profile([]).lengths == {}

    @given(rows=rows)
    def test_agrees_with_plain_counting(self, rows: list[Row]) -> None:
        """Whatever the rows, the figures are those of a slow count over the normalised texts."""
        found = profile(rows)
        full = [row for row in rows if row.text.strip()]
        labels_of = {
            text: {row.label for row in full if normalised(row.text) == text} for text in map(normalised, _texts(full))
        }

        assert found.empty == len(rows) - len(full)
        assert found.duplicates == len(full) - len(labels_of)
        assert found.label_conflicts == sum(len(labels) > 1 for labels in labels_of.values())
        assert sum(found.labels.values()) == len(full)


def _texts(rows: list[Row]) -> list[str]:
    return [row.text for row in rows]
