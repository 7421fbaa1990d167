"""
Inclusion and consistency proofs: made as RFC 6962 §2.1 defines them, checked by the algorithms of RFC 9162 §2.1.

A proof is a list of hashes, about log2(size) of them, that leads from what somebody holds (a record, an older root) to
a signed root. Checking needs no access to the log.
"""

from __future__ import annotations

from collections.abc import Sequence

from hanlin.audit.tree import hash_node, range_root, split
from hanlin.domain import InvalidInputError


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int, size: int | None = None) -> list[bytes]:
    """
    Return the path from leaf *index* to the root of the first *size* leaves (all, when not given), lowest first.

    Raises InvalidInputError when that tree has no such leaf.
    """
    size = len(leaf_hashes) if size is None else size
    if not 0 <= index < size <= len(leaf_hashes):
        raise InvalidInputError(
            f"a log of {len(leaf_hashes)} records has no proof for index {index} in its first {size}",
            hint="index < size <= number of records",
        )
    path, start, end = [], 0, size
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            path.append(range_root(leaf_hashes, middle, end))
            end = middle
        else:
            path.append(range_root(leaf_hashes, start, middle))
            start = middle
    return path[::-1]


def consistency_proof(leaf_hashes: Sequence[bytes], old_size: int, new_size: int | None = None) -> list[bytes]:
    """
    Return the proof that the tree of *new_size* leaves (all, when not given) extends the tree of *old_size*.

    Raises InvalidInputError unless 0 < old_size <= new_size <= number of leaves.
    """
    new_size = len(leaf_hashes) if new_size is None else new_size
    if not 0 < old_size <= new_size <= len(leaf_hashes):
        raise InvalidInputError(
            f"a log of {len(leaf_hashes)} records has no proof from size {old_size} to {new_size}",
            hint="0 < old size <= new size <= number of records",
        )
    path, start, end = [], 0, new_size
    is_whole = True  # whether [start, old_size) is the old tree itself, whose root the verifier has already
    while end != old_size:
        middle = start + split(end - start)
        if old_size <= middle:
            path.append(range_root(leaf_hashes, middle, end))
            end = middle
        else:
            path.append(range_root(leaf_hashes, start, middle))
            start, is_whole = middle, False
    if not is_whole:
        path.append(range_root(leaf_hashes, start, end))
    return path[::-1]


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether *proof* shows that *leaf_hash* is leaf *index* of the tree of *size* with *root* (§2.1.3.2)."""
    if not 0 <= index < size:
        return False
    is_left = _siblings_left(index, size - 1)
    computed = leaf_hash
    for sibling, left in zip(proof, is_left, strict=False):
        computed = hash_node(sibling, computed) if left else hash_node(computed, sibling)
    return len(proof) == len(is_left) and computed == root


def verify_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Return whether *proof* shows that the newer tree begins with the older one, unchanged (§2.1.4.2)."""
    if old_size == new_size:
        return not proof and old_root == new_root
    if not 0 < old_size < new_size:
        return False
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]  # a perfect old tree is its own subtree
    is_left = _siblings_left(node, last)
    if len(path) != len(is_left) + 1:
        return False
    old = new = path[0]
    for sibling, left in zip(path[1:], is_left, strict=True):
        old = hash_node(sibling, old) if left else old
        new = hash_node(sibling, new) if left else hash_node(new, sibling)
    return old == old_root and new == new_root


def _siblings_left(node: int, last: int) -> list[bool]:
    """Return, for each step from *node* up to the root, whether its sibling is on the left; *last* ends the level."""
    is_left = []
    while last:
        is_left.append(bool(node & 1) or node == last)
        if is_left[-1]:
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    return is_left
