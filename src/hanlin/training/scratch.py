"""A base from scratch: a tokenizer and a small BERT, pretrained for a short while by guessing masked words."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hanlin.corpora import iter_texts, read_manifest, reporting_full_disk
from hanlin.domain import Reporter
from hanlin.training.checkpoints import safetensors_errors
from hanlin.training.machine import choose_device, choose_precision, choose_threads
from hanlin.training.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, CLS, SEP, MASK = 0, 2, 3, 4
POSITIONS, BLOCK, ROWS = 128, 64, 32
LAYERS, HEADS = 4, 12
MASKED, REPORT_S = 0.15, 0.5
RATE, WARMUP_STEPS = 5e-4, 50


def train_tokenizer(texts: Iterable[str], vocabulary_size: int, folder: Path) -> Tokenizer:
    """
    Train a WordPiece tokenizer (Chinese by characters) on *texts* and write it into *folder*.

    It has at most *vocabulary_size* pieces: where the characters alone are more, the rarest become ``[UNK]``. *texts*
    is read more than once.
    """
    from tokenizers import processors

    alphabet = _alphabet(texts)[: vocabulary_size - len(SPECIAL)]
    tokenizer = _wordpiece(texts, vocabulary_size, alphabet)
    while (excess := tokenizer.get_vocab_size() - vocabulary_size) > 0:  # by pieces such as ##s: up to one a character
        alphabet = alphabet[: len(alphabet) - -(-excess // 2)]
        tokenizer = _wordpiece(texts, vocabulary_size, alphabet)
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


def _alphabet(texts: Iterable[str]) -> list[str]:
    """Return the characters of *texts* as the tokenizer sees them, the most frequent first."""
    normalizer, counts = _normalizer(), Counter[str]()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    return sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))


def _normalizer() -> Normalizer:
    from tokenizers import normalizers

    return normalizers.BertNormalizer(lowercase=True)


def _wordpiece(texts: Iterable[str], vocabulary_size: int, alphabet: list[str]) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def pretrain(recipe: Recipe, corpora: Sequence[Path], out: Path, workdir: Path, reporter: Reporter) -> Path:
    """
    Make a base model from the texts of *corpora* alone, into the folder *out*; return it.

    Masked-language-model pretraining (Devlin et al. 2019, arXiv 1810.04805; 15 % of the tokens) for
    ``recipe.pretraining_s`` seconds. A finished *out* is taken as it is, so that a resumed run goes on behind it.
    """
    import torch

    if out.is_dir():
        return out
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(choose_threads(recipe.threads))
    shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(parents=True)
    texts = _Texts(corpora)
    tokenizer = train_tokenizer(texts, recipe.vocabulary_size, workdir)
    blocks = _blocks(tokenizer, texts)
    reporter.log("pretraining begins", blocks=len(blocks), vocabulary=tokenizer.get_vocab_size())
    model = build_model(recipe, tokenizer.get_vocab_size())
    steps = _learn(model, blocks, recipe, reporter)
    with reporting_full_disk(out), safetensors_errors():
        model.bert.save_pretrained(workdir)
        _describe(workdir, corpora, {"steps": steps, "blocks": len(blocks), "seconds": recipe.pretraining_s})
    workdir.rename(out)
    return out


def build_model(recipe: Recipe, vocabulary: int) -> Any:
    """Return an encoder with random weights and a head that guesses words."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.layers or LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=recipe.hidden_size * 4,
        max_position_embeddings=POSITIONS,
        pad_token_id=PAD,
    )
    return transformers.BertForMaskedLM(config)


@dataclass(frozen=True, slots=True)
class _Texts:
    """The texts of several corpora, as often as they are wanted."""

    corpora: Sequence[Path]

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(iter_texts(corpus) for corpus in self.corpora)


def _blocks(tokenizer: Tokenizer, texts: Iterable[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
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
    guessing = Guessing(model, blocks, recipe)
    begun = reported_at = time.monotonic()
    step, loss = 0, 0.0
    while (spent := time.monotonic() - begun) < recipe.pretraining_s:
        one = guessing.step(step, spent / recipe.pretraining_s)
        step += 1
        loss = one if step == 1 else 0.97 * loss + 0.03 * one
        if time.monotonic() - reported_at > REPORT_S:
            reported_at = time.monotonic()
            reporter.progress(spent, recipe.pretraining_s, "second", f"pretraining, loss {loss:.2f}")
            reporter.metric("pretraining_loss", step, loss)
    model.cpu()
    return step


class Guessing:
    """Learning to guess masked words, one step after another."""

    def __init__(self, model: Any, blocks: Any, recipe: Recipe) -> None:
        import torch

        self._device = choose_device(recipe.device)
        self._is_bf16 = choose_precision(recipe.precision, self._device) == "bf16"
        self._model, self._blocks = model.to(self._device).train(), blocks
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01, fused=True)
        self._random = np.random.default_rng(recipe.seed)

    def step(self, number: int, share_done: float) -> float:
        """Learn from one batch and return its loss; the rate rises at first and falls to zero."""
        import torch

        for group in self._optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (number + 1) / WARMUP_STEPS) * (1 - share_done)
        rows = self._blocks[self._random.integers(0, len(self._blocks), ROWS)]
        ids, targets = _masked(rows, self._random, self._model.config.vocab_size)
        with torch.autocast(self._device, dtype=torch.bfloat16, enabled=self._is_bf16):
            loss = self._model(input_ids=ids.to(self._device), labels=targets.to(self._device)).loss
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())


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
