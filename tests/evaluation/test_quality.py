"""Quality: every figure by hand, every interval against a slow reference that shares no code with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny_bert import build_corpus
from tests.tiny_model import build_servable

from hanlin.corpora import Row
from hanlin.domain import InvalidInputError, NotFoundError, SilentReporter
from hanlin.evaluation import QualityEvidence, confusion, evaluate, judge_predictions, label_numbers
from hanlin.evaluation.quality import RESAMPLES, SEED, wilson_interval

STARS = ("一星", "二星", "三星", "四星", "五星")


def judged(truth: Sequence[int], predicted: Sequence[int], labels: Sequence[str]) -> QualityEvidence:
    return judge_predictions(np.array(truth), np.array(predicted), labels, split="test")


def exact_f1(truth: Sequence[int], predicted: Sequence[int], label: int) -> Fraction | None:
    """Return one label's F1 by counting, or None where it occurs nowhere."""
    pairs = list(zip(truth, predicted, strict=True))
    hits = sum(t == p == label for t, p in pairs)
    false, missed = sum(p == label != t for t, p in pairs), sum(t == label != p for t, p in pairs)
    return Fraction(2 * hits, 2 * hits + false + missed) if hits + false + missed else None


def exact_macro_f1(truth: Sequence[int], predicted: Sequence[int], labels: int) -> Fraction:
    found = [f1 for label in range(labels) if (f1 := exact_f1(truth, predicted, label)) is not None]
    return sum(found, Fraction(0)) / len(found)


answers = st.integers(2, 5).flatmap(
    lambda labels: st.tuples(
        st.just(labels),
        st.lists(st.tuples(st.integers(0, labels - 1), st.integers(0, labels - 1)), min_size=1, max_size=60),
    )
)


class TestFigures:
    def test_two_labels_by_hand(self) -> None:
        """Of 6 bad ones 5 are found, of 4 good ones 3: accuracy 8/10, F1 10/12 and 6/8, their mean 19/24."""
        found = judged([0] * 6 + [1] * 4, [0, 0, 0, 0, 0, 1, 1, 1, 1, 0], ("负面", "正面"))

        assert (found.n, found.split, found.labels) == (10, "test", ["负面", "正面"])
        assert found.confusion == [[5, 1], [1, 3]]
        assert found.accuracy == 0.8
        assert found.baseline_accuracy == 0.6
        assert found.macro_f1 == pytest.approx(19 / 24)
        assert found.per_label["负面"] == pytest.approx({"precision": 5 / 6, "recall": 5 / 6, "f1": 5 / 6, "n": 6})
        assert found.per_label["正面"] == pytest.approx({"precision": 3 / 4, "recall": 3 / 4, "f1": 3 / 4, "n": 4})
        assert (found.accuracy_low, found.accuracy_high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)

    def test_five_labels_by_hand(self) -> None:
        """Two texts of each star, one of each pair taken for the next star: accuracy 1/2, every F1 2/4."""
        truth = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        found = judged(truth, [0, 1, 1, 2, 2, 3, 3, 4, 4, 0], STARS)

        assert found.accuracy == found.macro_f1 == 0.5
        assert [found.per_label[star]["f1"] for star in STARS] == [0.5] * 5
        assert found.confusion[4] == [1, 0, 0, 0, 1]

    def test_a_label_that_never_occurs_has_no_say(self) -> None:
        """A model that is always right scores 1, whatever else its labels could have been."""
        found = judged([0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 1, 2], STARS)

        assert found.macro_f1 == found.macro_f1_low == found.macro_f1_high == 1.0
        assert found.per_label["五星"] == {"precision": 0, "recall": 0, "f1": 0, "n": 0}

    def test_a_label_that_is_only_predicted_counts_as_wrong(self) -> None:
        """Calling something by a label that no text has is a mistake of that label too."""
        found = judged([0, 0, 1, 1], [0, 2, 1, 1], ("负面", "正面", "中性"))

        assert found.macro_f1 == pytest.approx((2 / 3 + 1 + 0) / 3)

    @given(answers)
    @settings(max_examples=40, deadline=None)
    def test_agree_with_counting(self, case: tuple[int, list[tuple[int, int]]]) -> None:
        """For any answers, accuracy, F1 and the confusion are those of a count in exact fractions."""
        labels, pairs = case
        truth, predicted = [t for t, _ in pairs], [p for _, p in pairs]
        found = judged(truth, predicted, STARS[:labels])

        assert found.accuracy == pytest.approx(float(Fraction(sum(t == p for t, p in pairs), len(pairs))))
        assert found.macro_f1 == pytest.approx(float(exact_macro_f1(truth, predicted, labels)))
        assert [found.per_label[star]["f1"] for star in STARS[:labels]] == pytest.approx(
            [float(exact_f1(truth, predicted, label) or 0) for label in range(labels)]
        )
        assert all(found.confusion[t][p] == pairs.count((t, p)) for t in range(labels) for p in range(labels))


class TestIntervals:
    @pytest.mark.parametrize(
        ("hits", "n", "low", "high"),
        [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 1, 0.2065, 1.0), (81, 263, 0.2553, 0.3662)],
    )
    def test_of_accuracy_are_wilsons(self, hits: int, n: int, low: float, high: float) -> None:
        """Published values: Newcombe 1998 has 81 of 263; ten of ten right may still be a model that errs at times."""
        assert wilson_interval(hits, n) == pytest.approx((low, high), abs=1e-4)

    @pytest.mark.parametrize(("hits", "n"), [(3, 10), (90, 100), (1700, 2000)])
    def test_of_accuracy_are_where_the_score_test_turns(self, hits: int, n: int) -> None:
        """At either end, what was seen lies 1.96 standard errors away: the definition, not the formula."""
        for end in wilson_interval(hits, n):
            assert abs(hits / n - end) / np.sqrt(end * (1 - end) / n) == pytest.approx(1.959964, abs=1e-5)

    def test_of_macro_f1_are_those_of_a_slow_bootstrap(self) -> None:
        """The same resamples, judged by counting and sorted by hand, give the same ends."""
        random = np.random.default_rng(5)
        truth = random.integers(0, 3, 40).tolist()
        predicted = [t if random.random() < 0.7 else int(random.integers(0, 3)) for t in truth]
        draws, values = np.random.default_rng(SEED), []
        for _ in range(RESAMPLES):
            chosen = draws.integers(0, 40, 40).tolist()
            values.append(float(exact_macro_f1([truth[i] for i in chosen], [predicted[i] for i in chosen], 3)))
        values.sort()
        found = judged(truth, predicted, STARS[:3])

        assert values[24] - 1e-9 <= found.macro_f1_low <= values[25] + 1e-9
        assert values[974] - 1e-9 <= found.macro_f1_high <= values[975] + 1e-9

    def test_cover_the_truth_about_as_often_as_they_say(self) -> None:
        """Of 200 samples of a model that is right in 80 of 100 cases, about 190 intervals contain that."""
        random = np.random.default_rng(11)
        intervals = [wilson_interval(int(random.binomial(150, 0.8)), 150) for _ in range(200)]

        assert 180 <= sum(low <= 0.8 <= high for low, high in intervals) <= 199

    def test_narrow_with_more_texts(self) -> None:
        """Ten times the texts, about a third of the width."""
        few = judged([0, 1] * 50, [0, 1, 1, 0, 0, 1, 0, 1, 0, 1] * 10, STARS[:2])
        many = judged([0, 1] * 500, [0, 1, 1, 0, 0, 1, 0, 1, 0, 1] * 100, STARS[:2])

        assert many.accuracy == few.accuracy
        assert many.accuracy_high - many.accuracy_low == pytest.approx(
            (few.accuracy_high - few.accuracy_low) / np.sqrt(10), rel=0.1
        )
        assert many.macro_f1_high - many.macro_f1_low < (few.macro_f1_high - few.macro_f1_low) / 2

    def test_do_not_depend_on_chance(self) -> None:
        """The same answers give the same evidence, to the last digit and whatever was drawn before."""
        truth, predicted = [0, 1, 1, 0, 1, 0, 1] * 9, [0, 1, 0, 0, 1, 1, 1] * 9
        first = judged(truth, predicted, STARS[:2])
        np.random.default_rng().random(100)

        assert judged(truth, predicted, STARS[:2]).as_dict() == first.as_dict()

    @given(answers)
    @settings(max_examples=60, deadline=None)
    def test_contain_the_estimate(self, case: tuple[int, list[tuple[int, int]]]) -> None:
        """No figure lies outside its own interval, and no interval outside 0 to 1."""
        labels, pairs = case
        found = judged([t for t, _ in pairs], [p for _, p in pairs], STARS[:labels])

        assert 0 <= found.accuracy_low <= found.accuracy <= found.accuracy_high <= 1
        assert 0 <= found.macro_f1_low <= found.macro_f1 + 1e-12
        assert found.macro_f1 - 1e-12 <= found.macro_f1_high <= 1

    def test_contain_the_estimate_with_many_rare_labels_too(self) -> None:
        """No resample has all of forty labels that occur once; the interval reaches to the estimate all the same."""
        found = judged([0] * 200, [0] * 160 + list(range(1, 41)), [str(number) for number in range(41)])

        assert found.macro_f1_low <= found.macro_f1 <= found.macro_f1_high


class TestConfusion:
    def test_rows_are_the_truth(self) -> None:
        """One text of the first label was called the third."""
        assert confusion(np.array([0]), np.array([2]), 3).tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


class TestLabelNumbers:
    def test_are_those_of_the_model(self) -> None:
        """The model's order counts, not the corpus's."""
        assert label_numbers([Row("好", "正面"), Row("坏", "负面")], ["负面", "正面"]).tolist() == [1, 0]

    @pytest.mark.parametrize(
        ("rows", "code"),
        [
            ([], "corpus_empty"),
            ([Row("好", "正面"), Row("坏")], "corpus_not_labelled"),
            ([Row("好", "正面"), Row("坏", "中性")], "labels_differ"),
        ],
    )
    def test_what_cannot_be_judged_by_has_a_code(self, rows: list[Row], code: str) -> None:
        """No texts, no labels, other labels: said before anything is computed."""
        with pytest.raises(InvalidInputError) as caught:
            label_numbers(rows, ["负面", "正面"])

        assert caught.value.code == code


class TestEvaluate:
    @pytest.fixture
    def servable(self, tmp_path: Path) -> Path:
        """A model that tells 快 and 好 from 差 and 慢."""
        return build_servable(tmp_path / "model")

    @pytest.fixture
    def corpus(self, tmp_path: Path) -> Path:
        """Texts on which it is right, but for those with 一般: they are called good and look it to nobody."""
        rows = [(f"{number} 快好", "正面") for number in range(200)]
        rows += [(f"{number} 差慢", "负面") for number in range(150)]
        rows += [(f"{number} 快好一般", "负面") for number in range(50)]
        return build_corpus(tmp_path / "corpus", rows)

    def test_measures_a_servable_on_texts_it_was_not_trained_on(self, servable: Path, corpus: Path) -> None:
        """The figures are those of the answers that the engine gives to the split asked for."""
        rows = [json.loads(line) for line in (corpus / "test.jsonl").read_text("utf-8").splitlines()]
        wrong = sum("一般" in row["text"] for row in rows)
        found = evaluate(servable, corpus, reporter=SilentReporter())

        assert 0 < wrong < len(rows)
        assert (found.split, found.n) == ("test", len(rows))
        assert found.accuracy == pytest.approx(1 - wrong / len(rows))
        assert found.confusion[0][1] == wrong
        assert evaluate(servable, corpus, split="validation", reporter=SilentReporter()).split == "validation"

    def test_says_how_far_it_is(self, servable: Path, corpus: Path) -> None:
        """Progress grows to the number of texts."""
        listener = Listener()
        found = evaluate(servable, corpus, reporter=listener)

        assert listener.done == sorted(listener.done)
        assert listener.done[-1] == found.n

    def test_evidence_is_plain_data(self, servable: Path, corpus: Path) -> None:
        """It survives JSON, which has no room for NaN or numpy."""
        evidence = evaluate(servable, corpus, reporter=SilentReporter()).as_dict()

        assert json.loads(json.dumps(evidence, allow_nan=False)) == evidence

    def test_a_split_that_is_not_there_is_named(self, servable: Path, corpus: Path) -> None:
        """With those that are."""
        with pytest.raises(NotFoundError) as caught:
            evaluate(servable, corpus, split="dev", reporter=SilentReporter())

        assert caught.value.code == "split_not_found"

    def test_a_model_of_other_labels_is_refused(self, corpus: Path, tmp_path: Path) -> None:
        """Before it judges a single text."""
        other = build_servable(tmp_path / "other", labels=("好评", "差评"))
        listener = Listener()
        with pytest.raises(InvalidInputError) as caught:
            evaluate(other, corpus, reporter=listener)

        assert caught.value.code == "labels_differ"
        assert listener.done == []


class Listener(SilentReporter):
    """Remembers how far it was."""

    def __init__(self) -> None:
        self.done: list[float] = []

    def progress(self, done: float, total: float, unit: str, message: str = "") -> None:
        """Keep it."""
        self.done.append(done)
