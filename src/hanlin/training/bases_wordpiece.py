"""A tokenizer.json for BERT folders from before there was one: made from vocab.txt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hanlin.domain import InvalidInputError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def ensure_tokenizer(folder: Path, config: Mapping[str, Any]) -> None:
    """Make sure that *folder* has tokenizer.json and tokenizer_config.json; from vocab.txt for BERT. Idempotent."""
    settings_path = folder / "tokenizer_config.json"
    settings = json.loads(settings_path.read_bytes()) if settings_path.is_file() else {}
    if not (folder / "tokenizer.json").is_file():
        _check_wordpiece(folder, config)
        _write_wordpiece(folder, settings)
    if not settings_path.is_file():
        settings = {"tokenizer_class": "PreTrainedTokenizerFast"} | _limits(config)
        settings_path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _check_wordpiece(folder: Path, config: Mapping[str, Any]) -> None:
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    if config["model_type"] != "bert" or not set(SPECIAL) <= set(pieces):
        raise InvalidInputError(
            f"there is no tokenizer.json, and vocab.txt of a {config['model_type']} model cannot stand in for it",
            code="base_incomplete",
            hint="save the tokenizer once with transformers, which writes tokenizer.json",
        )


def _write_wordpiece(folder: Path, settings: Mapping[str, Any]) -> None:
    from tokenizers.implementations import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(
        str(folder / "vocab.txt"),
        lowercase=bool(settings.get("do_lower_case", True)),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def _limits(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"model_max_length": config["max_position_embeddings"]} if "max_position_embeddings" in config else {}
