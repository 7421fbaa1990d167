"""Compression as a whole: two variants, and figures that come out of what they really answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.tiny_bert import build_classifier, build_corpus, reviews

from hanlin.compression import CompressedVariant, compress, reference_logits
from hanlin.compression.compress import _search_int8
from hanlin.compression.quantize import INT8_METHODS
from hanlin.corpora import iter_rows
from hanlin.domain import InvalidInputError, SilentReporter
from hanlin.engines import read_servable
from hanlin.evaluation import predict_logits


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compressed")
    build_corpus(folder / "corpus")
    build_classifier(folder / "model")
    return folder


@pytest.fixture(scope="module")
def variants(place: Path) -> list[CompressedVariant]:
    return compress(place / "model", place / "corpus", place / "out", SilentReporter())


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64))
    return np.asarray(weights / weights.sum(1, keepdims=True))


class TestCompress:
    def test_gives_an_fp32_and_an_int8_folder(self, variants: list[CompressedVariant]) -> None:
        """Both can be served, and each says what it is and how large."""
        assert [variant.precision for variant in variants] == ["fp32", "int8"]
        for variant in variants:
            assert read_servable(variant.folder).precision == variant.precision
            assert variant.size_bytes == (variant.folder / "model.onnx").stat().st_size
            assert variant.figures["size_bytes"] == variant.size_bytes
        assert variants[1].size_bytes < variants[0].size_bytes
        assert variants[1].method in {method.name for method in INT8_METHODS}

    @pytest.mark.parametrize("number", [0, 1], ids=["fp32", "int8"])
    def test_figures_are_those_of_the_answers(
        self, place: Path, variants: list[CompressedVariant], number: int
    ) -> None:
        """Agreement, accuracy and change follow from what torch and the variant say of the validation texts."""
        rows = list(iter_rows(place / "corpus", "validation"))
        texts = [row.text for row in rows]
        expected = reference_logits(place / "model", texts)
        found, labels = predict_logits(variants[number].folder, texts)
        same = sum(a == b for a, b in zip(found.argmax(1), expected.argmax(1), strict=True))
        right = sum(labels[which] == row.label for which, row in zip(found.argmax(1), rows, strict=True))
        would = sum(labels[which] == row.label for which, row in zip(expected.argmax(1), rows, strict=True))
        figures = variants[number].figures

        assert figures["compared_texts"] == len(rows)
        assert figures["agreement"] == pytest.approx(same / len(rows))
        assert figures["validation_accuracy"] == pytest.approx(right / len(rows))
        assert figures["accuracy_drop"] == pytest.approx((would - right) / len(rows))
        assert figures["max_probability_change"] == pytest.approx(
            np.abs(softmax(found) - softmax(expected)).max(), abs=1e-6
        )
        assert figures["latency_p50_ms"] > 0

    def test_fp32_agrees_with_the_trained_model(self, variants: list[CompressedVariant]) -> None:
        """Nothing is lost on the way to ONNX."""
        assert variants[0].figures["agreement"] == 1.0
        assert variants[0].figures["max_probability_change"] < 1e-4
        assert variants[0].figures["accuracy_drop"] == 0

    def test_int8_shows_what_it_costs(self, variants: list[CompressedVariant]) -> None:
        """Its figures are its own, not those of the original."""
        assert variants[1].figures["max_probability_change"] > 1e-4

    def test_labels_that_differ_are_refused(self, place: Path, tmp_path: Path) -> None:
        """Measured on another corpus, the figures would mean nothing."""
        rows = reviews(("负面", "正面", "中性"), 300)
        other = build_corpus(tmp_path / "other", rows)
        with pytest.raises(InvalidInputError, match="中性") as caught:
            compress(place / "model", other, tmp_path / "out", SilentReporter())

        assert caught.value.code == "labels_differ"

    def test_nothing_to_compare_on_is_refused(self, place: Path, tmp_path: Path) -> None:
        """Without validation texts there are no figures, and without figures no variant."""
        empty = tmp_path / "empty"
        shutil.copytree(place / "corpus", empty)
        (empty / "validation.jsonl").write_bytes(b"")
        with pytest.raises(InvalidInputError) as caught:
            compress(place / "model", empty, tmp_path / "out", SilentReporter())

        assert caught.value.code == "corpus_empty"


class TestSearch:
    @pytest.mark.parametrize(
        ("agreements", "drops", "chosen"),
        [
            ([1.0, 1.0, 1.0, 1.0], [0, 0, 0, 0], 0),
            ([0.98, 0.99, 1.0, 1.0], [0, 0.005, 0, 0], 1),
            ([0.995, 0.995, 0.995, 1.0], [0.02, 0.01, 0.006, 0], 3),
            ([0.90, 0.95, 0.97, 0.96], [0, 0, 0, 0], 2),
        ],
    )
    def test_takes_the_fastest_that_is_good_enough(
        self, place: Path, variants: list[CompressedVariant], tmp_path: Path,
        agreements: list[float], drops: list[float], chosen: int,
    ) -> None:  # fmt: skip
        """From the fastest to the most faithful: the first within bounds, or else the one that agrees most."""

        def judge(folder: Path) -> dict[str, float]:
            number = int(folder.name.removeprefix("int8-")) - 1
            return {"agreement": agreements[number], "accuracy_drop": drops[number]}

        found = _search_int8(variants[0].folder, tmp_path, judge, SilentReporter())

        assert found.method == INT8_METHODS[chosen].name
