"""
int8 for encoders on a CPU, from the fastest way to the most faithful.

Weights are int8 per channel and activations become int8 as they come, with one scale for a whole matrix: fast, no
calibration. What leaves a feed-forward's GELU has a few values far larger than all others, though, and one scale for
all of them loses the rest. Blockwise matrices have a scale for every 128 values instead, and cost a sixth more time
than the plain ones (docs/adr/0031).
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanlin.corpora import whole_folder

FLOAT = 1  # onnx.TensorProto.FLOAT: the quantizer cannot infer the type of fused nodes' weights by itself
BLOCK = 128
INT8_ACTIVATIONS = 4  # MatMulNBits' accuracy level that multiplies in int8
GELUS = frozenset({"BiasGelu", "FastGelu", "Gelu"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Method:
    """One way to quantize: which matrices are blockwise (none, feed-forward outputs, all), and the embeddings' type."""

    name: str
    blockwise: str = ""
    has_int8_embeddings: bool = True


INT8_METHODS = (
    Int8Method(name="int8 per channel"),
    Int8Method(name="int8 per channel, feed-forward outputs blockwise", blockwise="feed-forward outputs"),
    Int8Method(name="int8 blockwise, attention per channel", blockwise="all"),
    Int8Method(
        name="int8 blockwise, attention per channel, embeddings fp32", blockwise="all", has_int8_embeddings=False
    ),
)


def quantize_int8(servable: Path, out: Path, method: Int8Method = INT8_METHODS[0]) -> Path:
    """
    Write the servable folder *out*: the fused graph of *servable* with int8 weights, quantized by *method*.

    The folder appears whole or not at all. Raises ConflictError (``folder_exists``) and StorageFullError.
    """
    import onnx

    model = onnx.load(str(servable / "model.onnx"), load_external_data=False)
    kept = _named(model, "Gemm")  # pooler and classifier: small, and every error of theirs shows
    kept += [] if method.has_int8_embeddings else _named(model, "EmbedLayerNormalization")
    with whole_folder(out) as folder:
        _per_channel(_blockwise(model, blockwise_nodes(model, method)), folder / "model.onnx", kept)
        shutil.copyfile(servable / "tokenizer.json", folder / "tokenizer.json")
        card = json.loads((servable / "hanlin.json").read_text(encoding="utf-8")) | {"precision": "int8"}
        (folder / "hanlin.json").write_text(json.dumps(card, ensure_ascii=False, indent=1), encoding="utf-8")
    return out


def blockwise_nodes(model: Any, method: Int8Method) -> list[str]:
    """Return the names of the matrix products of *model* (onnx.ModelProto) that *method* quantizes by blocks."""
    if method.blockwise == "all":
        return _named(model, "MatMul")
    if not method.blockwise:
        return []
    bent = {node.output[0] for node in model.graph.node if node.op_type in GELUS}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[0] in bent]


def _blockwise(model: Any, names: list[str]) -> Any:
    """Return *model* with those matrix products in blocks of 128 values, each with a scale of its own."""
    if not names:
        return model
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    config = DefaultWeightOnlyQuantConfig(block_size=BLOCK, is_symmetric=True, accuracy_level=INT8_ACTIVATIONS, bits=8)
    others = [name for name in _named(model, "MatMul") if name not in names]
    quantizer = MatMulNBitsQuantizer(model, algo_config=config, nodes_to_exclude=others)
    quantizer.process()
    return quantizer.model.model


def _per_channel(model: Any, path: Path, kept: list[str]) -> None:
    """Write *model* with everything else in int8 per channel, but for the nodes named in *kept*."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().addFilter(_no_preprocessing_advice)
    try:
        quantize_dynamic(
            model,
            str(path),
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
            extra_options={"DefaultTensorType": FLOAT},
        )
    finally:
        logging.getLogger().removeFilter(_no_preprocessing_advice)


def _named(model: Any, kind: str) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type == kind]


def _no_preprocessing_advice(record: logging.LogRecord) -> bool:
    return "pre-processing" not in record.getMessage()
