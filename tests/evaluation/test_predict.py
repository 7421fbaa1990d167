"""Predictions through the engine that serves: in their order, each as if it were alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.tiny_model import BAD, GOOD, build_servable

from hanlin.domain import NotFoundError
from hanlin.evaluation import measure_latency, predict_logits

TEXTS = [character * length for length, character in enumerate((GOOD + BAD) * 4, 1)]


@pytest.fixture
def servable(tmp_path: Path) -> Path:
    return build_servable(tmp_path / "model")


class TestPredictLogits:
    def test_keep_the_order_of_the_texts(self, servable: Path) -> None:
        """However they are grouped to save time, answers stand where their texts stood."""
        found, labels = predict_logits(servable, TEXTS)
        alone = np.concatenate([predict_logits(servable, [text])[0] for text in TEXTS])

        assert labels == ["负面", "正面"]
        assert np.abs(found - alone).max() < 1e-5
        assert found.argmax(1).tolist() == [int(text[0] in GOOD) for text in TEXTS]

    def test_say_how_many_are_done(self, servable: Path) -> None:
        """Counts grow to the number of texts."""
        counts: list[int] = []
        predict_logits(servable, TEXTS, counts.append)

        assert counts == sorted(counts)
        assert counts[-1] == len(TEXTS)

    def test_judge_long_texts_by_their_beginning(self, servable: Path) -> None:
        """A text past the model's length is no reason to stop."""
        found, _ = predict_logits(servable, ["好" * 60 + "坏" * 1000])

        assert found[0].argmax() == 1

    def test_of_nothing_are_nothing(self, servable: Path) -> None:
        """No texts, no rows, the labels all the same."""
        found, labels = predict_logits(servable, [])

        assert (found.shape, len(labels)) == ((0, 2), 2)

    def test_need_a_whole_folder(self, servable: Path) -> None:
        """What is missing is named."""
        (servable / "model.onnx").unlink()
        with pytest.raises(NotFoundError, match=r"model\.onnx"):
            predict_logits(servable, TEXTS)


class TestMeasureLatency:
    @pytest.mark.parametrize("texts", [1, 30])
    def test_is_a_time_per_text(self, servable: Path, texts: int) -> None:
        """A number of milliseconds above zero, from however few texts."""
        assert measure_latency(servable, TEXTS[:texts]) > 0
