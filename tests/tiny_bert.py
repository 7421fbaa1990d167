"""
A tiny base model with random weights, and a small corpus of labelled reviews that it can learn.

    base = build_base(tmp_path / "base")          # what transformers can load: config, tokenizer, safetensors
    corpus = build_corpus(tmp_path / "corpus")    # an imported version: train, validation, test
"""

from __future__ import annotations

import csv
import itertools
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hanlin.corpora import SplitPlan, file_source, import_corpus
from hanlin.domain import SilentReporter
from hanlin.training.scratch import train_tokenizer

PLACES = ("前台", "房间", "早餐", "理赔", "客服", "物流", "包装", "卫生", "网点", "手续")
WORDS: Mapping[str, Sequence[str]] = {
    "负面": ("太差了", "一塌糊涂", "让人失望", "拖了一个月", "脏得要命", "敷衍了事"),
    "正面": ("非常周到", "干净整洁", "又快又好", "令人满意", "热情耐心", "值得推荐"),
    "中性": ("一般般", "和网上写的一样", "没什么特别", "中规中矩", "还在处理", "跟去年差不多"),
}
TAILS = ("。", "！", "，下次再说。", "，2024年3月来的。", "，朋友也这么讲。")


def reviews(labels: Sequence[str] = ("负面", "正面"), count: int = 400) -> list[tuple[str, str]]:
    """Return *count* different texts with their labels, in a fixed order; the words tell the label for certain."""
    made = [
        (f"{place}{first}，{other}{second}{tail}", label)
        for label in labels
        for place, other in itertools.permutations(PLACES, 2)
        for first, second in itertools.permutations(WORDS[label], 2)
        for tail in TAILS
    ]
    return random.Random(7).sample(made, count)


def build_corpus(folder: Path, rows: Sequence[tuple[str, str]] | None = None) -> Path:
    """Import *rows* (the usual reviews, if none are given) as a corpus version and return its folder."""
    source = folder.with_suffix(".csv")
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(reviews() if rows is None else rows)
    split = SplitPlan(validation=0.2, test=0.2)
    import_corpus(file_source(source), folder, name=folder.name, licence="CC0", reporter=SilentReporter(), split=split)
    return folder


def build_base(folder: Path, *, layers: int = 2, kind: str = "bert", positions: int = 48, hidden: int = 32) -> Path:
    """Write a random encoder (``bert`` or ``roberta``) with a tokenizer of its own into *folder* and return it."""
    import torch
    import transformers

    folder.mkdir(parents=True)
    texts = [text for text, _ in reviews(tuple(WORDS), 2000)]
    tokenizer = train_tokenizer(texts, 500, folder)
    sizes: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": hidden * 2,
        "max_position_embeddings": positions,
    }
    torch.manual_seed(0)
    if kind == "roberta":
        model = transformers.RobertaModel(transformers.RobertaConfig(**sizes, pad_token_id=1, type_vocab_size=1))
    else:
        model = transformers.BertModel(transformers.BertConfig(**sizes, pad_token_id=0))
    model.save_pretrained(folder)
    return folder


def build_classifier(
    folder: Path, *, labels: Sequence[str] = ("负面", "正面"), base: Path | None = None, **sizes: Any
) -> Path:
    """Write a classifier with random weights, large enough that different texts get different scores."""
    import shutil

    import torch
    import transformers

    base = base or build_base(folder.with_name(f"{folder.name}-base"), **sizes)
    torch.manual_seed(1)
    config = transformers.AutoConfig.from_pretrained(base)
    config.id2label, config.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, config=config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    model.save_pretrained(folder)
    shutil.copyfile(base / "tokenizer.json", folder / "tokenizer.json")
    return folder
