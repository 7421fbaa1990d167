"""The folder of a trained model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from hanlin.corpora import reporting_full_disk
from hanlin.training.checkpoints import safetensors_errors
from hanlin.training.recipe import Recipe

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


def write_model(out: Path, base: Path, model: Any, recipe: Recipe, figures: dict[str, Any]) -> None:
    """Write *model* into the new folder *out*, with the tokenizer of *base* and ``run.json``; whole or not at all."""
    scratch = out.with_name(out.name + ".new")
    shutil.rmtree(scratch, ignore_errors=True)
    with reporting_full_disk(out), safetensors_errors():
        model.cpu().save_pretrained(scratch)
        _write_beside(scratch, base, recipe, figures)
    scratch.rename(out)


def _write_beside(scratch: Path, base: Path, recipe: Recipe, figures: dict[str, Any]) -> None:
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, scratch / name)
    run = {"recipe": recipe.as_dict(), "figures": figures}
    (scratch / "run.json").write_text(json.dumps(run, ensure_ascii=False, indent=1), encoding="utf-8")
