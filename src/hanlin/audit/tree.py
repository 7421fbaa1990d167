"""
The Merkle tree of RFC 6962 §2.1, grown leaf by leaf.

               root
             ┌───┴────┐
           peak 0     │           size 7 = 0b111: three peaks,
         ┌───┴───┐  peak 1        one perfect subtree per set bit,
         ●       ●  ┌─┴─┐         the largest first
        ┌┴┐     ┌┴┐ │   │ peak 2
        0 1     2 3 4   5   6

A leaf is hashed as SHA-256(0x00 ‖ leaf), a node as SHA-256(0x01 ‖ left ‖ right), so that no node passes for a leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Self

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def hash_leaf(leaf: bytes) -> bytes:
    """Return the RFC 6962 hash of *leaf*."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """Return the RFC 6962 hash of the node above *left* and *right*."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class Frontier:
    """
    The right edge of a growing tree: all that is needed to append leaves and to know the root.

    Appending costs one node hash on average, the root at most one per set bit of the size.
    """

    size: int = 0
    peaks: list[bytes] = field(default_factory=list)

    def push(self, leaf_hash: bytes) -> None:
        """Append one leaf."""
        peak, size = leaf_hash, self.size
        while size & 1:
            peak = hash_node(self.peaks.pop(), peak)
            size >>= 1
        self.peaks.append(peak)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the tree as it is now."""
        if not self.peaks:
            return EMPTY_ROOT
        return reduce(lambda right, left: hash_node(left, right), reversed(self.peaks))

    def copy(self) -> Self:
        """Return an independent copy."""
        return type(self)(self.size, list(self.peaks))


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root of the tree over *leaf_hashes*."""
    frontier = Frontier()
    for leaf_hash in leaf_hashes:
        frontier.push(leaf_hash)
    return frontier.root()


def split(size: int) -> int:
    """Return how many leaves are under the left child of a tree of *size* > 1: the largest power of two below it."""
    return 1 << (size - 1).bit_length() - 1


def range_root(leaf_hashes: Sequence[bytes], start: int, end: int) -> bytes:
    """Return the root over ``leaf_hashes[start:end]``."""
    return root_of(leaf_hashes[index] for index in range(start, end))
