"""Pruning a Unigram vocabulary of a hundred languages to the pieces that some texts need."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from hanlin.domain import InvalidInputError, Reporter

BATCH = 4096
SPACE = "▁"
EVERY = 10  # of ten texts one is kept to measure on

Spec = Mapping[str, Any]  # a tokenizer.json
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """A smaller tokenizer, the ids that it kept (ascending, the new id is the position), and what that costs."""

    spec: Spec
    keep: tuple[int, ...]
    facts: Mapping[str, int | float]


def prune(spec: Spec, texts: Iterable[str], size: int, reporter: Reporter) -> Pruned:
    """
    Return *spec* with *size* pieces: those that *texts* use most, and enough to spell any Chinese or English text.

    Always kept are special tokens, byte pieces, and single characters that were seen, are Chinese or stand in ASCII or
    GB 2312, so that new words fall apart into characters, not into ``<unk>``. What room the texts leave goes to other
    Chinese pieces, then to those in ASCII, most common first. Raises ``base_vocabulary_invalid`` for another *size*.
    """
    full = _tokenizer(spec)
    counts, characters, sample = _count(full, texts, reporter)
    seen = set(full.normalizer.normalize_str("".join(sorted(characters))))
    keep = choose_pieces(spec, counts, seen, size)
    pruned = _with_pieces(spec, keep)
    before, after = _use(full, sample), _use(_tokenizer(pruned), sample)
    facts = {
        "pieces": len(keep),
        "pieces_before": len(counts),
        "token_coverage": 1 - _share(int(counts.sum() - counts[list(keep)].sum()), int(counts.sum())),
        "tokens_added": _share(int(after.sum() - before.sum()), int(before.sum())),
        "unknown_before": _share(int(before[spec["model"]["unk_id"]]), int(before.sum())),
        "unknown_after": _share(int(after[pruned["model"]["unk_id"]]), int(after.sum())),
    }
    return Pruned(spec=pruned, keep=tuple(keep), facts={name: round(value, 6) for name, value in facts.items()})


def choose_pieces(spec: Spec, counts: Counts, seen: set[str], size: int) -> list[int]:
    """Return the *size* ids to keep, ascending, so that special tokens keep their low ids."""
    pieces = [piece for piece, _ in spec["model"]["vocab"]]
    always = {token["id"] for token in spec["added_tokens"]} | {spec["model"]["unk_id"]}
    always.update(i for i, piece in enumerate(pieces) if piece in seen or piece.startswith("<0x") or _is_basic(piece))
    if not len(always) <= size <= len(pieces):
        raise InvalidInputError(
            f"a vocabulary of {size:,} pieces is not possible here",
            code="base_vocabulary_invalid",
            hint=f"from {len(always):,} to {len(pieces):,}, or 0 for all",
            param="vocabulary_size",
        )
    others = [index for index in range(len(pieces)) if index not in always]
    others.sort(key=lambda index: (-counts[index], _foreignness(pieces[index]), index))  # ids run by frequency
    return sorted(always.union(others[: size - len(always)]))


def _is_chinese(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff"


def _is_basic(piece: str) -> bool:
    return len(piece) == 1 and (piece == SPACE or _is_chinese(piece) or bool(piece.encode("gb2312", "ignore")))


def _foreignness(piece: str) -> int:
    """Return 0 for Chinese pieces, 1 for those in ASCII, 2 for the other languages'."""
    letters = piece.removeprefix(SPACE)
    if letters.isascii():
        return 1
    return 0 if all(c.isascii() or _is_chinese(c) for c in letters) else 2


def _tokenizer(spec: Spec) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(json.dumps(spec))


def _count(tokenizer: Any, texts: Iterable[str], reporter: Reporter) -> tuple[Counts, set[str], list[str]]:
    """Return how often *texts* use each piece, which characters they have, and every tenth of them."""
    counts = np.zeros(tokenizer.get_vocab_size(), np.int64)
    characters: set[str] = set()
    sample: list[str] = []
    done, stream = 0, iter(texts)
    while batch := list(islice(stream, BATCH)):
        counts += _use(tokenizer, batch)
        characters.update(*batch)
        sample += batch[::EVERY]
        done += len(batch)
        reporter.progress(done, done, "text", "counting pieces")
    return counts, characters, sample


def _use(tokenizer: Any, texts: Sequence[str]) -> Counts:
    counts = np.zeros(tokenizer.get_vocab_size(), np.int64)
    for at in range(0, len(texts), BATCH):
        encoded = tokenizer.encode_batch_fast(texts[at : at + BATCH], add_special_tokens=False)
        ids = np.fromiter(chain.from_iterable(one.ids for one in encoded), np.int64)
        counts += np.bincount(ids, minlength=len(counts))
    return counts


def _with_pieces(spec: Spec, keep: Sequence[int]) -> Spec:
    """Return *spec* with the pieces in *keep* only; their scores stay as they were."""
    new = {old: index for index, old in enumerate(keep)}
    model, post = spec["model"], spec["post_processor"]
    special = {
        name: {**token, "ids": [new[old] for old in token["ids"]]} for name, token in post["special_tokens"].items()
    }
    return {
        **spec,
        "added_tokens": [{**token, "id": new[token["id"]]} for token in spec["added_tokens"]],
        "post_processor": {**post, "special_tokens": special},
        "model": {**model, "vocab": [model["vocab"][old] for old in keep], "unk_id": new[model["unk_id"]]},
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
