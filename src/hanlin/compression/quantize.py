"""Dynamic int8: weights per channel, activations as they come; no calibration needed."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

FLOAT = 1  # onnx.TensorProto.FLOAT: the quantizer cannot infer the type of fused nodes' weights by itself


def quantize_int8(servable: Path, out: Path, *, keep_fp32: Sequence[str] = ()) -> Path:
    """
    Write the servable folder *out*: the fused graph of *servable* with int8 weights.

    *keep_fp32* names nodes that stay as they are.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    out.mkdir(parents=True)
    logging.getLogger().addFilter(_no_preprocessing_advice)
    try:
        quantize_dynamic(
            str(servable / "model.onnx"),
            str(out / "model.onnx"),
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(keep_fp32),
            extra_options={"DefaultTensorType": FLOAT},
        )
    finally:
        logging.getLogger().removeFilter(_no_preprocessing_advice)
    shutil.copyfile(servable / "tokenizer.json", out / "tokenizer.json")
    card = json.loads((servable / "hanlin.json").read_text(encoding="utf-8")) | {"precision": "int8"}
    (out / "hanlin.json").write_text(json.dumps(card, ensure_ascii=False, indent=1), encoding="utf-8")
    return out


def list_layers(servable: Path) -> list[list[str]]:
    """Return the names of the matrix nodes, a list per encoder layer, from the first to the last."""
    import onnx

    graph = onnx.load(str(servable / "model.onnx"), load_external_data=False).graph
    names = [node.name for node in graph.node if node.op_type in {"MatMul", "Attention"}]
    starts = [index for index, name in enumerate(names) if name.startswith("Attention")] + [len(names)]
    return [names[start:end] for start, end in pairwise(starts)]


def _no_preprocessing_advice(record: logging.LogRecord) -> bool:
    return "pre-processing" not in record.getMessage()
