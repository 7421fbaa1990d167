"""A base from scratch: a tokenizer and a small BERT, pretrained for a short while by guessing masked words."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hanlin.corpora import iter_texts, read_manifest
from hanlin.domain import Reporter
from hanlin.training.machine import choose_device, choose_precision, choose_threads
from hanlin.training.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, CLS, SEP, MASK = 0, 2, 3, 4
POSITIONS, BLOCK, ROWS = 128, 64, 32
LAYERS, HEADS = 4, 12
MASKED, REPORT_S = 0.15, 0.5


def train_tokenizer(texts: Iterator[str], vocabulary_size: int, folder: Path) -> Tokenizer:
    """Train a WordPiece tokenizer (Chinese by characters) on *texts* and write it into *folder*."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary_size, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": POSITIONS,
        "model_input_names": ["input_ids", "attention_mask"],
        **dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True)),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return tokenizer


def pretrain(recipe: Recipe, corpora: Sequence[Path], out: Path, workdir: Path, reporter: Reporter) -> Path:
    """
    Make a base model from the texts of *corpora* alone, into the folder *out*; return it.

    Masked-language-model pretraining (Devlin et al. 2019, arXiv 1810.04805; 15 % of the tokens) for
    ``recipe.pretraining_s`` seconds. A finished *out* is taken as it is, so that a resumed run goes on behind it.
    """
    import torch
    import transformers

    if out.is_dir():
        return out
    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(choose_threads(recipe.threads))
    shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(parents=True)
    tokenizer = train_tokenizer(_texts(corpora), recipe.vocabulary_size, workdir)
    blocks = _blocks(tokenizer, _texts(corpora))
    reporter.log("pretraining begins", blocks=len(blocks), vocabulary=tokenizer.get_vocab_size())
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.layers or LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=recipe.hidden_size * 4,
        max_position_embeddings=POSITIONS,
        pad_token_id=PAD,
    )
    model = transformers.BertForMaskedLM(config)
    steps = _learn(model, blocks, recipe, reporter)
    model.bert.save_pretrained(workdir)
    _describe(workdir, corpora, {"steps": steps, "blocks": len(blocks), "seconds": recipe.pretraining_s})
    workdir.rename(out)
    return out


def _texts(corpora: Sequence[Path]) -> Iterator[str]:
    return chain.from_iterable(iter_texts(corpus) for corpus in corpora)


def _blocks(tokenizer: Tokenizer, texts: Iterator[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the texts end to end, cut into rows of equal length: no token is padding."""
    ids: list[int] = []
    for encoded in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False):
        ids += encoded.ids
        ids.append(SEP)
    body = BLOCK - 1
    rows = max(1, len(ids) // body)
    table = np.full((rows, BLOCK), CLS, dtype=np.int64)
    flat = np.array(ids[: rows * body] + [PAD] * max(0, rows * body - len(ids)), dtype=np.int64)
    table[:, 1:] = flat.reshape(rows, body)
    return table


def _learn(model: Any, blocks: Any, recipe: Recipe, reporter: Reporter) -> int:
    import torch

    device = choose_device(recipe.device)
    is_bf16 = choose_precision(recipe.precision, device) == "bf16"
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.01, fused=True)
    random = np.random.default_rng(recipe.seed)
    begun = reported_at = time.monotonic()
    step, loss = 0, 0.0
    while (spent := time.monotonic() - begun) < recipe.pretraining_s:
        for group in optimizer.param_groups:
            group["lr"] = 5e-4 * min(1.0, (step + 1) / 50) * (1 - spent / recipe.pretraining_s)
        ids, targets = _masked(blocks[random.integers(0, len(blocks), ROWS)], random, model.config.vocab_size)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=is_bf16):
            one = model(input_ids=ids.to(device), labels=targets.to(device)).loss
        one.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        loss = float(one.detach()) if step == 1 else 0.97 * loss + 0.03 * float(one.detach())
        if time.monotonic() - reported_at > REPORT_S:
            reported_at = time.monotonic()
            reporter.progress(spent, recipe.pretraining_s, "second", f"pretraining, loss {loss:.2f}")
            reporter.metric("pretraining_loss", step, loss)
    model.cpu()
    return step


def _masked(rows: Any, random: np.random.Generator, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Hide 15 % of the tokens: 80 % behind [MASK], 10 % behind another word, 10 % not at all."""
    import torch

    ids, targets = rows.copy(), rows.copy()
    chosen = (random.random(rows.shape) < MASKED) & (rows > MASK)
    targets[~chosen] = -100
    how = random.random(rows.shape)
    ids[chosen & (how < 0.8)] = MASK
    other = chosen & (how >= 0.8) & (how < 0.9)
    ids[other] = random.integers(len(SPECIAL), vocabulary, int(other.sum()))
    return torch.from_numpy(ids), torch.from_numpy(targets)


def _describe(folder: Path, corpora: Sequence[Path], facts: dict[str, Any]) -> None:
    manifests = [read_manifest(corpus) for corpus in corpora]
    card = {
        "ref": "scratch",
        "source": " + ".join(f"{m.name} ({m.source})" for m in manifests),
        "licence": " + ".join(sorted({m.licence for m in manifests})),
        "facts": facts,
    }
    (folder / "base.json").write_text(json.dumps(card, ensure_ascii=False, indent=1), encoding="utf-8")
