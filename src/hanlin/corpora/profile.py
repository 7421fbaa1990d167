"""What is in a corpus: rows, lengths, labels, duplicates, contradictions, leakage."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hanlin.corpora.rows import Row, text_key

SPLITS = ("train", "validation", "test")
_BIT = {split: 1 << index for index, split in enumerate(SPLITS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusProfile:
    """The figures of a corpus. Two texts are the same when they are after NFKC and white-space normalisation."""

    rows: int
    empty: int  # rows without text; counted nowhere else
    characters: int
    lengths: Mapping[str, int]  # p50, p90, p99, max in characters
    labels: Mapping[str, int]  # rows per label, most frequent first
    duplicates: int  # rows whose text came before
    label_conflicts: int  # texts that carry different labels
    leakage: Mapping[str, int]  # texts in both of two splits, by "train/test" …
    splits: Mapping[str, Mapping[str, int]]  # rows per label (or "" without labels) in each split


def profile(rows: Iterable[Row]) -> CorpusProfile:
    """Return the figures of *rows*, read once; memory grows by about 150 bytes per different text."""
    census = Census()
    for row in rows:
        census.add(row)
    return census.profile()


class Census:
    """Counts rows as they pass, and remembers of each text what is needed to clean and to split."""

    def __init__(self) -> None:
        self.rows = self.empty = self.duplicates = 0
        self.labels: Counter[str | None] = Counter()
        self._by_split: Counter[tuple[str, str]] = Counter()
        self._lengths: Counter[int] = Counter()
        self._label_of: dict[bytes, str | None] = {}
        self._split_of: dict[bytes, int] = {}  # bits of _BIT; only for rows whose owner split them
        self._conflicts: set[bytes] = set()
        self._repeats: dict[bytes, int] = {}  # rows per text that came more than once

    def add(self, row: Row) -> None:
        """Count *row*."""
        self.rows += 1
        if not row.text or row.text.isspace():
            self.empty += 1
            return
        key = text_key(row.text)
        self.labels[row.label] += 1
        self._lengths[len(row.text)] += 1
        if row.split:
            self._by_split[row.split, row.label or ""] += 1
            self._split_of[key] = self._split_of.get(key, 0) | _BIT[row.split]
        if key not in self._label_of:
            self._label_of[key] = row.label
            return
        self.duplicates += 1
        self._repeats[key] = self._repeats.get(key, 1) + 1
        if self._label_of[key] != row.label:
            self._conflicts.add(key)

    @property
    def has_given_splits(self) -> bool:
        """Whether any row came with a split of its own."""
        return bool(self._split_of)

    @property
    def rows_in_conflict(self) -> int:
        """How many rows carry a text that contradicts itself."""
        return sum(self._repeats[key] for key in self._conflicts)

    def __contains__(self, key: bytes) -> bool:
        """Whether the text with this key was seen."""
        return key in self._label_of

    def is_contradictory(self, key: bytes) -> bool:
        """Whether the text with this key was seen with different labels."""
        return key in self._conflicts

    def given_split(self, key: bytes) -> str | None:
        """Return the split that its owner gave to a text; of several the most held-out, so that nothing leaks."""
        bits = self._split_of.get(key, 0)
        return next((split for split in reversed(SPLITS) if bits & _BIT[split]), None)

    def usable_keys(self) -> list[bytes]:
        """Return the keys of all texts that do not contradict themselves, in the order they were first seen."""
        return [key for key in self._label_of if key not in self._conflicts]

    def profile(self) -> CorpusProfile:
        """Return the figures so far."""
        splits: dict[str, dict[str, int]] = {}
        for (split, label), count in sorted(self._by_split.items()):
            splits.setdefault(split, {})[label] = count
        return CorpusProfile(
            rows=self.rows,
            empty=self.empty,
            characters=sum(length * count for length, count in self._lengths.items()),
            lengths=_percentiles(self._lengths),
            labels={label: count for label, count in _most_common(self.labels) if label is not None},
            duplicates=self.duplicates,
            label_conflicts=len(self._conflicts),
            leakage=self._leakage(),
            splits=splits,
        )

    def _leakage(self) -> dict[str, int]:
        present = [split for split in SPLITS if any(split == found for found, _ in self._by_split)]
        pairs = list(itertools.combinations(present, 2))
        return {
            f"{a}/{b}": sum(bits & _BIT[a] > 0 and bits & _BIT[b] > 0 for bits in self._split_of.values())
            for a, b in pairs
        }


def _most_common(labels: Counter[str | None]) -> list[tuple[str | None, int]]:
    return sorted(labels.items(), key=lambda item: (-item[1], item[0] or ""))


def _percentiles(lengths: Counter[int]) -> dict[str, int]:
    """Return the nearest-rank percentiles of a histogram."""
    total = lengths.total()
    if not total:
        return {}
    ordered = sorted(lengths)
    behind = list(itertools.accumulate(lengths[length] for length in ordered))
    result = {
        f"p{percent}": next(
            length for length, done in zip(ordered, behind, strict=True) if done * 100 >= percent * total
        )
        for percent in (50, 90, 99)
    }
    return {**result, "max": ordered[-1]}
