"""From a trained model to fused ONNX."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import hanlin
from hanlin.corpora import whole_folder
from hanlin.domain import InternalError
from hanlin.training import longest_input

OPSET = 17
INPUTS = ["input_ids", "attention_mask"]


def export_onnx(checkpoint: Path, out: Path) -> Path:
    """
    Write the servable folder *out* (fp32, attention fused) from the Hugging Face folder *checkpoint*.

    Only the legacy exporter with eager attention gives a graph whose attention onnxruntime can fuse (measured with
    torch 2.13 and transformers 5.23); the number of fused nodes is checked (``export_not_fused``). The folder appears
    whole or not at all. Raises ConflictError (``folder_exists``) and StorageFullError.
    """
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        checkpoint, attn_implementation="eager", dtype=torch.float32
    ).eval()
    with whole_folder(out) as folder:
        with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
            raw = Path(scratch) / "raw.onnx"
            _trace(model, raw)
            _fuse(raw, folder / "model.onnx", model.config)
        shutil.copyfile(checkpoint / "tokenizer.json", folder / "tokenizer.json")
        write_card(folder, model.config, precision="fp32")
    return out


def count_fused_attention(path: Path) -> int:
    """Return how many fused attention nodes the graph at *path* has: one per layer when fusion worked."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    return sum(node.op_type in {"Attention", "MultiHeadAttention", "QAttention"} for node in graph.node)


def write_card(folder: Path, config: Any, *, precision: str) -> None:
    """Write ``hanlin.json``: what an engine must know about the folder."""
    card = {
        "format": "onnx",
        "task": "classification",
        "precision": precision,
        "labels": [config.id2label[index] for index in range(config.num_labels)],
        "max_length": longest_input(config.to_dict()),
        "pad_id": int(config.pad_token_id or 0),
        "inputs": INPUTS,
        "created_by": f"hanlin {hanlin.__version__}",
    }
    (folder / "hanlin.json").write_text(json.dumps(card, ensure_ascii=False, indent=1), encoding="utf-8")


def _trace(model: Any, path: Path) -> None:
    import warnings

    import torch

    class Logits(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    example = (torch.ones(2, 9, dtype=torch.long), torch.ones(2, 9, dtype=torch.long))
    axes = {name: {0: "texts", 1: "tokens"} for name in INPUTS} | {"logits": {0: "texts"}}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer warns about constants that are constants here
        torch.onnx.export(
            Logits(), example, str(path), input_names=INPUTS, output_names=["logits"], dynamic_axes=axes,
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip


def _fuse(raw: Path, path: Path, config: Any) -> None:
    from onnxruntime.transformers.optimizer import optimize_model

    optimized = optimize_model(
        str(raw), model_type="bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size
    )
    optimized.save_model_to_file(str(path))
    found = count_fused_attention(path)
    if found != config.num_hidden_layers:
        raise InternalError(
            f"{found} of {config.num_hidden_layers} attention layers were fused",
            code="export_not_fused",
            hint="the versions of torch, transformers and onnxruntime do not fit together",
        )
