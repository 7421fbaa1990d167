"""The whole way from text to a published version, with a corpus and a base so small that it takes seconds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tests.e2e.running import RunningPlatform

from hanlin.domain import Task, TaskState
from hanlin.sdk import Calls

GOOD = "好棒赞喜爱美优快"
BAD = "坏差烂恨丑慢糟骗"
PLAIN = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多"
LABELS = ("负面", "正面")
TEXTS = 1200
POSITIONS, WIDTH, LAYERS = 64, 32, 2
RECIPE = {"layers": LAYERS, "epochs": 4.0, "batch_size": 16, "learning_rate": 5e-3, "dropout": 0.0, "max_length": 32}


@dataclass(frozen=True)
class Journey:
    """What each step of the way left behind."""

    imported: Task
    pulled: Task
    trained: Task
    compressed: Task
    evaluated: tuple[Task, ...]
    published: Task


def travel(platform: RunningPlatform, folder: Path, recipe: dict[str, Any] | None = None) -> Journey:
    """Bring text and a base in, train, compress, evaluate and publish, each by a task of the platform."""
    with platform.control() as client:
        corpus = write_corpus(folder / "reviews.jsonl")
        with corpus.open("rb") as file:
            upload = client.send(Calls.upload(corpus.name, file)).upload
    imported = succeed(platform, "import", corpus="reviews", upload=upload, licence="CC0-1.0")
    pulled = succeed(platform, "pull_base", ref=f"folder:{build_base(folder / 'tiny')}")
    base = (pulled.result or {})["base"]
    trained = succeed(
        platform, "train", model="reviews", corpus="reviews@1", base=base, recipe={**RECIPE, **(recipe or {})}
    )
    compressed = succeed(platform, "compress", model="reviews")
    versions = [made["version"] for made in (compressed.result or {})["versions"]]
    evaluated = tuple(succeed(platform, "evaluate", model="reviews", version=version) for version in versions)
    published = succeed(platform, "publish", model="reviews", version=versions[-1])
    return Journey(imported, pulled, trained, compressed, evaluated, published)


def succeed(platform: RunningPlatform, kind: str, **params: Any) -> Task:
    """Have a task done that has to succeed."""
    task = platform.do(kind, params)
    assert task.state is TaskState.SUCCEEDED, task.error
    return task


def write_corpus(path: Path, texts: int = TEXTS) -> Path:
    """Write reviews whose label anybody can see: good words speak for one, bad words for the other."""
    random = np.random.default_rng(7)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for number in range(texts):
            words = GOOD if number % 2 else BAD
            chosen = [*random.choice(list(words), 8), *random.choice(list(PLAIN), random.integers(2, 10))]
            random.shuffle(chosen)
            row = {"text": "".join(chosen), "label": LABELS[number % 2]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def build_base(folder: Path) -> Path:
    """Write a BERT of two layers with random weights, as transformers would save it."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(GOOD + BAD + PLAIN)]
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 2 * WIDTH,
        "hidden_act": "gelu",
        "vocab_size": len(pieces),
        "type_vocab_size": 2,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": 0,
        "layer_norm_eps": 1e-12,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n", encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    save_file(_weights(len(pieces)), folder / "model.safetensors")
    return folder


def _weights(vocabulary: int) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (vocabulary, WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        **_norm("embeddings.LayerNorm"),
        **_dense("pooler.dense", WIDTH, WIDTH),
    }
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            shapes |= _dense(f"{name}.attention.self.{part}", WIDTH, WIDTH)
        shapes |= _dense(f"{name}.attention.output.dense", WIDTH, WIDTH) | _norm(f"{name}.attention.output.LayerNorm")
        shapes |= _dense(f"{name}.intermediate.dense", 2 * WIDTH, WIDTH)
        shapes |= _dense(f"{name}.output.dense", WIDTH, 2 * WIDTH) | _norm(f"{name}.output.LayerNorm")
    return {name: _filled(name, shape, random) for name, shape in shapes.items()}


def _filled(name: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float32]]:
    if name.endswith("LayerNorm.weight"):
        return np.ones(shape, np.float32)
    if name.endswith("bias"):
        return np.zeros(shape, np.float32)
    scale = 0.5 if "word_embeddings" in name else 0.05
    return random.normal(0, scale, shape).astype(np.float32)


def _dense(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}
