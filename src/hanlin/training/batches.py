"""Batches of texts of like length: padding costs what text costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hanlin.corpora import iter_rows, read_manifest
from hanlin.domain import InvalidInputError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

POOL = 40  # batches whose texts are sorted together


class Examples:
    """Texts of one split as token ids, with the numbers of their labels."""

    def __init__(self, ids: list[list[int]], labels: list[int]) -> None:
        self.ids, self.labels = ids, labels

    @classmethod
    def read(cls, corpus: Path, split: str, tokenizer: Tokenizer, labels: Sequence[str], max_length: int) -> Examples:
        """
        Read and tokenize a split; longer texts keep their beginning.

        Raises InvalidInputError: ``corpus_empty`` for a split without rows, ``corpus_version_invalid`` for a row whose
        label is not among *labels*.
        """
        number = {label: index for index, label in enumerate(labels)}
        rows = list(iter_rows(corpus, split))
        if not rows:
            raise InvalidInputError(
                f"the split {split!r} has no texts", code="corpus_empty", hint="training needs texts in every split"
            )
        if strange := {row.label or "" for row in rows} - number.keys():
            raise InvalidInputError(
                f"{split} has the label {min(strange)!r}, which the corpus does not list",
                code="corpus_version_invalid",
                hint=f"its labels are {', '.join(labels)}; import it again",
            )
        tokenizer.no_padding()  # many published tokenizers pad: to a model whose mask is all ones that is text
        tokenizer.enable_truncation(max_length)
        encoded = tokenizer.encode_batch_fast([row.text for row in rows])
        return cls([list(one.ids) for one in encoded], [number[row.label or ""] for row in rows])

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return sum(map(len, self.ids))


def labels_of(corpus: Path) -> tuple[str, ...]:
    """Return the labels of a corpus; raise ``corpus_not_labelled`` or ``corpus_single_label``."""
    manifest = read_manifest(corpus)
    if manifest.kind != "labelled":
        raise InvalidInputError(
            f"corpus {manifest.name} is running text", code="corpus_not_labelled", hint="train on a labelled corpus"
        )
    if len(manifest.labels) < 2:
        raise InvalidInputError(
            f"corpus {manifest.name} has {len(manifest.labels)} label",
            code="corpus_single_label",
            hint="a classifier needs at least two labels",
        )
    return tuple(manifest.labels)


def epoch_batches(examples: Examples, batch_size: int, seed: int) -> list[list[int]]:
    """Return the batches of one epoch as indices: shuffled, each of texts of like length. The same seed, the same."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(examples))
    batches = []
    for start in range(0, len(order), batch_size * POOL):
        pool = sorted(order[start : start + batch_size * POOL].tolist(), key=lambda i: len(examples.ids[i]))
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def collate(examples: Examples, indices: Sequence[int], pad_id: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids and mask, shape (texts, longest), and labels, shape (texts,)."""
    import torch

    width = max(len(examples.ids[i]) for i in indices)
    ids = torch.full((len(indices), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(indices), width), dtype=torch.long)
    for row, index in enumerate(indices):
        length = len(examples.ids[index])
        ids[row, :length] = torch.tensor(examples.ids[index], dtype=torch.long)
        mask[row, :length] = 1
    return ids, mask, torch.tensor([examples.labels[i] for i in indices], dtype=torch.long)
