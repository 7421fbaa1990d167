"""From a trained model to fused ONNX: the same numbers out of a graph that runs fast."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import transformers
from numpy.typing import NDArray
from tests.tiny_bert import build_classifier, reviews
from tests.training.test_checkpoints import room_for

from hanlin.compression import count_fused_attention, export_onnx, reference_logits
from hanlin.domain import ConflictError, InternalError, InvalidInputError, StorageFullError
from hanlin.engines import TextEncoder, create_engine, read_servable
from hanlin.evaluation import predict_logits

TEXTS = [text for text, _ in reviews(count=40)]
LONG = "".join(TEXTS)
SHAPES = [(1, 1), (1, 2), (1, 7), (1, 48), (2, 9), (3, 31), (5, 16), (16, 48)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of three layers as training leaves it."""
    return build_classifier(tmp_path_factory.mktemp("trained") / "model", layers=3)


@pytest.fixture(scope="module")
def fp32(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(trained, tmp_path_factory.mktemp("exported") / "fp32")


def kinds(servable: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(servable / "model.onnx").graph.node)


def random_rows(texts: int, longest: int, vocabulary: int) -> list[list[int]]:
    """Return token ids of different lengths, one of them the longest."""
    random = np.random.default_rng(texts * 1000 + longest)
    lengths = [longest, *random.integers(1, longest + 1, texts - 1)]
    return [random.integers(5, vocabulary, length).tolist() for length in lengths]


class TestFusion:
    def test_every_layer_has_its_attention_in_one_node(self, fp32: Path) -> None:
        """Legacy exporter, eager attention: whatever the libraries' versions, what is slow to run is not shipped."""
        assert kinds(fp32)["Attention"] == 3
        assert count_fused_attention(fp32 / "model.onnx") == 3

    def test_what_stands_around_attention_is_fused_too(self, fp32: Path) -> None:
        """Embeddings in one node, two sums with normalization and one activation a layer, nothing left of the parts."""
        found = kinds(fp32)

        assert found["EmbedLayerNormalization"] == 1
        assert found["SkipLayerNormalization"] == 6
        assert found["BiasGelu"] + found["FastGelu"] + found["Gelu"] == 3
        assert not found.keys() & {"Softmax", "LayerNormalization", "Erf", "Einsum"}

    def test_attention_that_cannot_be_fused_is_not_shipped(self, tmp_path: Path) -> None:
        """A kind of encoder whose attention the optimizer does not know fails with a code, and no folder is left."""
        torch.manual_seed(0)
        sizes = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = transformers.DebertaV2Config(**sizes, intermediate_size=64)
        transformers.DebertaV2ForSequenceClassification(config).save_pretrained(tmp_path / "deberta")
        with pytest.raises(InternalError, match="0 of 2") as caught:
            export_onnx(tmp_path / "deberta", tmp_path / "out")

        assert caught.value.code == "export_not_fused"
        assert [path.name for path in tmp_path.iterdir()] == ["deberta"]


class TestNumbers:
    @pytest.mark.parametrize(("texts", "longest"), SHAPES)
    def test_are_those_of_torch_for_any_shape(self, trained: Path, fp32: Path, texts: int, longest: int) -> None:
        """One text or many, short or as long as can be, padded or not: within 1e-4 of the trained model."""
        rows = random_rows(texts, longest, vocabulary=100)
        engine = create_engine("onnx")
        engine.load(fp32, threads=1, device="cpu")
        expected = torch_logits(trained, rows)

        assert np.abs(engine.run(rows) - expected).max() < 1e-4
        assert np.abs(expected).max() > 1e-2  # else any graph would do

    def test_are_those_of_torch_for_texts(self, trained: Path, fp32: Path) -> None:
        """The tokenizer that serves cuts and encodes as the reference does, long texts included."""
        texts = [*TEXTS, LONG, "", "☃", "a b c"]
        found, labels = predict_logits(fp32, texts)

        assert labels == ["负面", "正面"]
        assert np.abs(found - reference_logits(trained, texts)).max() < 1e-4

    def test_a_reference_does_not_depend_on_its_neighbours(self, trained: Path) -> None:
        """A text alone and among others gets the same scores."""
        alone = np.concatenate([reference_logits(trained, [text]) for text in TEXTS[:5]])

        assert np.abs(reference_logits(trained, TEXTS)[:5] - alone).max() < 1e-5

    def test_five_labels_and_a_roberta(self, tmp_path: Path) -> None:
        """Other heads and other ways to count positions: up to the last token that the model takes."""
        labels = ["一星", "二星", "三星", "四星", "五星"]
        trained = build_classifier(tmp_path / "model", labels=labels, kind="roberta", positions=34)
        servable = export_onnx(trained, tmp_path / "fp32")
        found, order = predict_logits(servable, [*TEXTS, LONG])

        assert read_servable(servable).max_length == 32
        assert read_servable(servable).pad_id == 1
        assert order == labels
        assert np.abs(found - reference_logits(trained, [*TEXTS, LONG])).max() < 1e-4


class TestFolder:
    def test_is_what_an_engine_loads(self, trained: Path, fp32: Path) -> None:
        """Weights, tokenizer and card; nothing of the way there."""
        engine = create_engine("onnx")
        engine.load(fp32, threads=1, device="cpu")
        info = engine.describe()

        assert (info.precision, info.labels, info.max_length) == ("fp32", ("负面", "正面"), 48)
        assert {path.name for path in fp32.iterdir()} == {"model.onnx", "tokenizer.json", "hanlin.json"}
        assert [path.name for path in fp32.parent.iterdir()] == ["fp32"]
        assert len(TextEncoder(fp32).encode([LONG], truncate=True)[0]) == 48

    def test_carries_its_weights_itself(self, fp32: Path) -> None:
        """No tensor points to another file."""
        graph = onnx.load(fp32 / "model.onnx", load_external_data=False).graph

        assert not [t.name for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]

    def test_is_not_written_over(self, trained: Path, fp32: Path) -> None:
        """A version that exists stays as it is."""
        with pytest.raises(ConflictError) as caught:
            export_onnx(trained, fp32)

        assert caught.value.code == "folder_exists"

    def test_without_room_there_is_none(self, trained: Path, tmp_path: Path) -> None:
        """A full disk has its code, and nothing half-written can be mistaken for a model."""
        with room_for(10_000), pytest.raises(StorageFullError):
            export_onnx(trained, tmp_path / "out")

        assert list(tmp_path.iterdir()) == []


class TestUnsafeWeights:
    @pytest.mark.parametrize("location", ["../secret.bin", "{folder}/secret.bin", "link.bin"])
    def test_outside_the_folder_are_refused(self, fp32: Path, tmp_path: Path, location: str) -> None:
        """A model cannot take another file of the machine for its weights: not above, not by name, not by a link."""
        (tmp_path / "secret.bin").write_bytes(b"\0" * 4096)
        folder = with_external_weights(fp32, tmp_path / "model", location.format(folder=tmp_path))
        (folder / "link.bin").symlink_to(tmp_path / "secret.bin")

        with pytest.raises(InvalidInputError) as caught:
            create_engine("onnx").load(folder, threads=1, device="cpu")

        assert caught.value.code == "servable_invalid"

    def test_that_are_missing_are_refused(self, fp32: Path, tmp_path: Path) -> None:
        """So is half a model."""
        folder = with_external_weights(fp32, tmp_path / "model", "weights.bin")

        with pytest.raises(InvalidInputError) as caught:
            create_engine("onnx").load(folder, threads=1, device="cpu")

        assert caught.value.code == "servable_invalid"

    def test_are_not_opened_to_count_nodes(self, fp32: Path, tmp_path: Path) -> None:
        """Looking at a graph touches no file but the graph."""
        folder = with_external_weights(fp32, tmp_path / "model", "../nowhere.bin")

        assert count_fused_attention(folder / "model.onnx") == 3


def with_external_weights(servable: Path, folder: Path, location: str) -> Path:
    """Return a copy of *servable* whose first weights are said to lie at *location*."""
    shutil.copytree(servable, folder)
    model = onnx.load(folder / "model.onnx")
    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def torch_logits(folder: Path, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Return what the trained model says of each row by itself, without padding."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        return np.concatenate([model(input_ids=torch.tensor([row])).logits.numpy() for row in rows])
