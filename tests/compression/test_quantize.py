"""int8: smaller, near the original, and each way of it does what its name says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.tiny_bert import build_classifier, reviews
from tests.training.test_checkpoints import room_for

from hanlin.compression import export_onnx, quantize_int8
from hanlin.compression.quantize import INT8_METHODS, Int8Method
from hanlin.domain import ConflictError, StorageFullError
from hanlin.engines import create_engine, read_servable
from hanlin.evaluation import predict_logits

LAYERS, HEAD = 2, 2  # the head's products: pooler and classifier
TEXTS = [text for text, _ in reviews(count=40)]
PER_CHANNEL, OUTPUTS_BLOCKWISE, BLOCKWISE, FP32_EMBEDDINGS = INT8_METHODS


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported classifier whose matrices are wide enough for blocks of 128 values."""
    folder = tmp_path_factory.mktemp("quantized")
    return export_onnx(build_classifier(folder / "model", layers=LAYERS, hidden=128), folder / "fp32")


def kinds(servable: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(servable / "model.onnx").graph.node)


def size(servable: Path) -> int:
    return (servable / "model.onnx").stat().st_size


class TestQuantize:
    @pytest.mark.parametrize("method", INT8_METHODS, ids=lambda method: method.name)
    def test_every_method_gives_a_smaller_model_that_loads(
        self, fp32: Path, tmp_path: Path, method: Int8Method
    ) -> None:
        """Well below the original's size, loadable by the engine, near its scores and, being eight bits, not equal."""
        folder = quantize_int8(fp32, tmp_path / "int8", method)
        engine = create_engine("onnx")
        engine.load(folder, threads=1, device="cpu")
        found, expected = (predict_logits(which, TEXTS)[0] for which in (folder, fp32))

        assert size(folder) < 0.5 * size(fp32)
        assert engine.describe().precision == read_servable(folder).precision == "int8"
        assert 1e-5 < np.abs(found - expected).max() < 0.1 * np.abs(expected).max()

    def test_per_channel_leaves_no_matrix_in_fp32(self, fp32: Path, tmp_path: Path) -> None:
        """Attention, three products a layer, those of the head and the embeddings: all of them become integers."""
        found = kinds(quantize_int8(fp32, tmp_path / "int8", PER_CHANNEL))

        assert (found["QAttention"], found["MatMulInteger"], found["QEmbedLayerNormalization"]) == (
            LAYERS,
            3 * LAYERS + HEAD,
            1,
        )
        assert not found.keys() & {"MatMul", "Gemm", "Attention", "EmbedLayerNormalization"}

    @pytest.mark.parametrize(
        ("method", "blocks", "embeddings"),
        [
            (OUTPUTS_BLOCKWISE, LAYERS, "QEmbedLayerNormalization"),
            (BLOCKWISE, 3 * LAYERS, "QEmbedLayerNormalization"),
            (FP32_EMBEDDINGS, 3 * LAYERS, "EmbedLayerNormalization"),
        ],
        ids=lambda value: value.name if isinstance(value, Int8Method) else "",
    )
    def test_blockwise_matrices_are_those_named(
        self, fp32: Path, tmp_path: Path, method: Int8Method, blocks: int, embeddings: str
    ) -> None:
        """One product a layer or all three have scales of their own; what is kept in fp32 is kept."""
        found = kinds(quantize_int8(fp32, tmp_path / "int8", method))

        assert found["MatMulNBits"] == blocks
        assert found["MatMulInteger"] == 3 * LAYERS + HEAD - blocks
        assert found["QAttention"] == LAYERS
        assert found[embeddings] == 1
        assert found["MatMul"] == 0

    def test_the_rest_of_the_folder_is_that_of_the_original(self, fp32: Path, tmp_path: Path) -> None:
        """Tokenizer and labels go along; the original stays as it was."""
        before = (fp32 / "model.onnx").read_bytes()
        folder = quantize_int8(fp32, tmp_path / "int8")

        assert (folder / "tokenizer.json").read_bytes() == (fp32 / "tokenizer.json").read_bytes()
        assert read_servable(folder).labels == read_servable(fp32).labels
        assert (fp32 / "model.onnx").read_bytes() == before
        assert {path.name for path in folder.iterdir()} == {"model.onnx", "tokenizer.json", "hanlin.json"}

    @pytest.mark.parametrize("method", [PER_CHANNEL, BLOCKWISE], ids=lambda method: method.name)
    def test_the_same_model_gives_the_same_bytes(self, fp32: Path, tmp_path: Path, method: Int8Method) -> None:
        """A version can be made again and has the same digest."""
        one, two = (quantize_int8(fp32, tmp_path / name, method) for name in ("one", "two"))

        assert (one / "model.onnx").read_bytes() == (two / "model.onnx").read_bytes()

    def test_a_folder_is_not_written_over(self, fp32: Path) -> None:
        """A version that exists stays as it is."""
        with pytest.raises(ConflictError) as caught:
            quantize_int8(fp32, fp32)

        assert caught.value.code == "folder_exists"

    def test_without_room_there_is_none(self, fp32: Path, tmp_path: Path) -> None:
        """A full disk has its code, and nothing half-written can be mistaken for a model."""
        with room_for(10_000), pytest.raises(StorageFullError):
            quantize_int8(fp32, tmp_path / "int8")

        assert list(tmp_path.iterdir()) == []
