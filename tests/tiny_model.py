"""
A tiny real model for tests: its logits are the mean of its tokens' embeddings, through one linear layer.

It is a true ONNX file with a true tokenizer and loads in milliseconds. Characters of ``GOOD`` speak for the last
label, characters of ``BAD`` for the first; ``POISON`` makes it compute NaN, as a broken model would.

    folder = build_servable(tmp_path / "model")
    engine = create_engine("onnx"); engine.load(folder, threads=1, device="cpu")
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

LABELS = ("负面", "正面")
GOOD = "好棒赞喜爱美优快"
BAD = "坏差烂恨丑慢糟骗"
POISON = "☠"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
PLAIN = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多"
ASCII = "abcdefghijklmnopqrstuvwxyz0123456789.,!?"
OPSET = 17


def build_servable(
    folder: Path,
    *,
    labels: Sequence[str] = LABELS,
    dim: int = 16,
    max_length: int = 64,
    precision: str = "fp32",
    layers: int = 0,
    seed: int = 0,
) -> Path:
    """
    Write model.onnx, tokenizer.json and hanlin.json into *folder* (made if missing) and return it.

    *layers* (an even number) adds dim x dim layers per token that change nothing, to make the model as slow as a test
    needs it; *seed* makes models with different files and slightly different scores.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokens = [*SPECIAL, *dict.fromkeys(GOOD + BAD + POISON + PLAIN + ASCII)]
    _tokenizer(tokens).save(str(folder / "tokenizer.json"))
    onnx.save(_model(tokens, len(labels), dim, layers, seed), str(folder / "model.onnx"))
    card = {
        "format": "onnx",
        "task": "classification",
        "precision": precision,
        "labels": list(labels),
        "max_length": max_length,
        "pad_id": 0,
        "inputs": ["input_ids", "attention_mask"],
        "created_by": "hanlin tests",
    }
    (folder / "hanlin.json").write_text(json.dumps(card, ensure_ascii=False), encoding="utf-8")
    return folder


def _tokenizer(tokens: Sequence[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("."), "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def _model(tokens: Sequence[str], labels: int, dim: int, layers: int, seed: int) -> onnx.ModelProto:
    random = np.random.default_rng(seed)
    embedding = random.normal(0, 0.01, (len(tokens), dim)).astype(np.float32)
    for sign, characters in ((1.0, GOOD), (-1.0, BAD), (float("nan"), POISON)):
        for character in characters:
            embedding[tokens.index(character), 0] = sign * 4.0
    head = random.normal(0, 0.01, (dim, labels)).astype(np.float32)
    head[0] = np.linspace(-2.0, 2.0, labels)
    weights = {"embedding": embedding, "head": head, "axis_last": np.array([2]), "axis_text": np.array([1])}
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["state0"]),
        *_layers(weights, dim, layers),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "axis_last"], ["mask3"]),
        helper.make_node("Mul", [f"state{layers}", "mask3"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "axis_text"], ["summed"], keepdims=0),
        helper.make_node("ReduceSum", ["mask3", "axis_text"], ["count"], keepdims=0),
        helper.make_node("Div", ["summed", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "head"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["texts", labels])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _layers(weights: dict[str, np.ndarray], dim: int, layers: int) -> list[onnx.NodeProto]:
    """Return layers that change nothing but cost time: rotations, and back."""
    nodes = []
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(dim, dim)))
    for layer in range(layers):
        weights[f"layer{layer}"] = np.ascontiguousarray(rotation if layer % 2 == 0 else rotation.T, dtype=np.float32)
        nodes.append(helper.make_node("MatMul", [f"state{layer}", f"layer{layer}"], [f"state{layer + 1}"]))
    return nodes
