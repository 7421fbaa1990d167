"""Which files of a model folder are data, and refusing the rest: no pickle, no code, no links to elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from hanlin.domain import InvalidInputError

DATA_SUFFIXES = frozenset({".json", ".txt", ".safetensors", ".md", ".model"})
DATA_NAMES = frozenset({"LICENSE", "NOTICE"})
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"})
INDEX_SUFFIX = ".index.json"
SMALL_BYTES = 64 << 20


def is_data(name: str) -> bool:
    """Return whether a file of this name, straight in the model's folder, is taken along."""
    path = PurePosixPath(name)
    is_file_of_torch = name.startswith("pytorch_model") or name.endswith(f".bin{INDEX_SUFFIX}")
    return path.name == name and not is_file_of_torch and (path.suffix in DATA_SUFFIXES or name in DATA_NAMES)


def check_names(names: Iterable[str], where: str) -> None:
    """Raise ``base_unsafe_weights`` or ``base_incomplete`` unless the files named make up a model in safetensors."""
    names = set(names)
    if not any(name.endswith(".safetensors") for name in names):
        pickles = sorted(name for name in names if PurePosixPath(name).suffix in PICKLE_SUFFIXES)
        if pickles:
            raise unsafe(f"{where} has its weights as {', '.join(pickles[:3])} only, which run code when loaded")
        raise incomplete(where, "model.safetensors")
    if "config.json" not in names:
        raise incomplete(where, "config.json")
    if not names & {"tokenizer.json", "vocab.txt"}:
        raise incomplete(where, "tokenizer.json")


def check_folder(folder: Path, where: str) -> Mapping[str, Any]:
    """
    Look into every file of a model folder and return its config.

    Raises ``base_unsafe_weights`` for weights that are no safetensors, ``base_remote_code`` for a config that names
    code of its own, and ``base_incomplete``.
    """
    paths = sorted(folder.iterdir())
    check_names((path.name for path in paths), where)
    for path in paths:
        if path.suffix == ".safetensors":
            _check_weights(path)
        if path.suffix == ".json" and path.stat().st_size < SMALL_BYTES:
            _check_json(path)
    _check_shards(folder, where)
    config: Mapping[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise InvalidInputError(f"config.json of {where} names no model_type", code="base_incomplete")
    return config


def unsafe(message: str) -> InvalidInputError:
    """Return the error for weights that cannot be loaded without running code."""
    return InvalidInputError(message, code="base_unsafe_weights", hint="bring the weights as model.safetensors")


def incomplete(where: str, missing: str) -> InvalidInputError:
    """Return the error for a model that lacks a file."""
    return InvalidInputError(
        f"{where} has no {missing}",
        code="base_incomplete",
        hint="a base needs config.json, model.safetensors and tokenizer.json (or vocab.txt)",
    )


def _check_weights(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as opened:
            names = list(opened.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise unsafe(f"{path.name} is no safetensors file: {error}") from error
    if not names:
        raise unsafe(f"{path.name} holds no weights")


def _check_json(path: Path) -> None:
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path.name} is no JSON: {error}", code="base_incomplete") from error
    if isinstance(document, dict) and "auto_map" in document:
        raise InvalidInputError(
            f"{path.name} wants to run code of its own (auto_map)",
            code="base_remote_code",
            hint="only architectures that transformers has itself can be used",
        )


def _check_shards(folder: Path, where: str) -> None:
    """Raise unless every part that an index names is there, straight in the folder."""
    for index in folder.glob(f"*{INDEX_SUFFIX}"):
        parts = set(json.loads(index.read_bytes()).get("weight_map", {}).values())
        for part in sorted(parts):
            if not is_data(str(part)) or not (folder / part).is_file():
                raise incomplete(where, str(part))
