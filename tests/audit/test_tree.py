"""The Merkle tree and its proofs, against published vectors and a foreign implementation."""

from __future__ import annotations

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.audit import (
    consistency_proof,
    hash_leaf,
    inclusion_proof,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from hanlin.domain import InvalidInputError

LEAVES = [b"", b"\x00", b"\x10", b" !", b"01", b"@ABC", b"PQRSTUVW", b"`abcdefghijklmno"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

logs = st.lists(st.binary(max_size=8), min_size=1, max_size=70)


@st.composite
def sizes(draw: st.DrawFn) -> tuple[list[bytes], int, int]:
    leaves = draw(logs)
    new_size = draw(st.integers(1, len(leaves)))
    return leaves, draw(st.integers(1, new_size)), new_size


class TestRoot:
    @pytest.mark.parametrize("size", range(1, 9))
    def test_is_that_of_the_published_vectors(self, size: int) -> None:
        """The roots are those of the Certificate Transparency test vectors."""
        assert root_of(hash_leaf(leaf) for leaf in LEAVES[:size]).hex() == ROOTS[size - 1]

    def test_of_nothing_is_the_hash_of_nothing(self) -> None:
        """RFC 6962 §2.1: the root of the empty tree is SHA-256 of the empty string."""
        assert root_of([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    @given(leaves=logs)
    def test_is_that_of_a_foreign_implementation(self, leaves: list[bytes]) -> None:
        """The library pymerkle computes the same root from the same leaves."""
        assert root_of(hash_leaf(leaf) for leaf in leaves) == foreign(leaves).get_root()


class TestInclusion:
    @given(case=sizes())
    def test_is_proved_like_a_foreign_implementation_does(self, case: tuple[list[bytes], int, int]) -> None:
        """The path is the one pymerkle makes, verifies, and is as long as the tree is high."""
        leaves, position, size = case
        hashes = [hash_leaf(leaf) for leaf in leaves]

        proof = inclusion_proof(hashes, position - 1, size)

        assert proof == foreign(leaves).prove_inclusion(position, size).path[1:]
        assert verify_inclusion(hashes[position - 1], position - 1, size, proof, root_of(hashes[:size]))
        assert len(proof) <= (size - 1).bit_length()

    @given(case=sizes(), salt=st.binary(min_size=1, max_size=4), data=st.data())
    def test_proves_nothing_else(self, case: tuple[list[bytes], int, int], salt: bytes, data: st.DataObject) -> None:
        """Another leaf, another place, another size, a longer or a changed path: none verifies."""
        leaves, position, size = case
        hashes = [hash_leaf(leaf) for leaf in leaves]
        index, root = position - 1, root_of(hashes[:size])
        proof = inclusion_proof(hashes, index, size)
        leaf = hashes[index]

        assert not verify_inclusion(hash_leaf(leaves[index] + salt), index, size, proof, root)
        assert not verify_inclusion(leaf, index, size, [*proof, leaf], root)
        assert not verify_inclusion(leaf, size, size, proof, root)
        assert not verify_inclusion(leaf, -1, size, proof, root)
        if proof:
            changed = data.draw(st.integers(0, len(proof) - 1))
            broken = [hash_leaf(step) if number == changed else step for number, step in enumerate(proof)]
            assert not verify_inclusion(leaf, index, size, broken, root)
            assert not verify_inclusion(leaf, index, size, proof[:-1], root)

    def test_is_refused_for_a_leaf_that_is_not_there(self) -> None:
        """A proof about a record past the end is an input error, not a wrong proof."""
        with pytest.raises(InvalidInputError, match="no proof for index 3"):
            inclusion_proof([hash_leaf(b"")] * 3, 3)


class TestConsistency:
    @given(case=sizes())
    def test_is_proved_as_the_definition_says(self, case: tuple[list[bytes], int, int]) -> None:
        """The path is that of the recursive definition in RFC 6962 §2.1.2, and verifies."""
        leaves, old_size, new_size = case
        hashes = [hash_leaf(leaf) for leaf in leaves]

        proof = consistency_proof(hashes, old_size, new_size)

        assert proof == subproof(old_size, hashes[:new_size], is_whole=True)
        assert verify_consistency(old_size, new_size, proof, root_of(hashes[:old_size]), root_of(hashes[:new_size]))

    @given(case=sizes())
    def test_is_seen_by_a_foreign_implementation(self, case: tuple[list[bytes], int, int]) -> None:
        """The library pymerkle, which builds its own kind of path, finds our two roots consistent."""
        leaves, old_size, new_size = case
        hashes = [hash_leaf(leaf) for leaf in leaves]

        proof = foreign(leaves).prove_consistency(old_size, new_size)

        pymerkle.verify_consistency(root_of(hashes[:old_size]), root_of(hashes[:new_size]), proof)

    @given(case=sizes(), data=st.data())
    def test_fails_for_a_log_that_was_rewritten(self, case: tuple[list[bytes], int, int], data: st.DataObject) -> None:
        """If any old leaf differs, no honest proof of the new log leads back to the old root."""
        leaves, old_size, new_size = case
        hashes = [hash_leaf(leaf) for leaf in leaves]
        changed = data.draw(st.integers(0, old_size - 1))
        rewritten = [hash_leaf(leaf) if number == changed else leaf for number, leaf in enumerate(hashes)]

        proof = consistency_proof(rewritten, old_size, new_size)

        old_root, new_root = root_of(hashes[:old_size]), root_of(rewritten[:new_size])
        assert not verify_consistency(old_size, new_size, proof, old_root, new_root)

    @given(case=sizes())
    def test_fails_for_another_length(self, case: tuple[list[bytes], int, int]) -> None:
        """A path with a step too many or too few proves nothing."""
        leaves, old_size, new_size = case
        hashes = [hash_leaf(leaf) for leaf in leaves]
        roots = root_of(hashes[:old_size]), root_of(hashes[:new_size])
        proof = consistency_proof(hashes, old_size, new_size)

        assert not verify_consistency(old_size, new_size, [*proof, hashes[0]], *roots)
        if proof:
            assert not verify_consistency(old_size, new_size, proof[:-1], *roots)

    def test_is_refused_for_sizes_that_were_not(self) -> None:
        """A size of nought or past the end is an input error."""
        with pytest.raises(InvalidInputError):
            consistency_proof([hash_leaf(b"")] * 3, 0, 3)
        with pytest.raises(InvalidInputError):
            consistency_proof([hash_leaf(b"")] * 3, 2, 4)


def subproof(old_size: int, hashes: list[bytes], *, is_whole: bool) -> list[bytes]:
    """Return SUBPROOF(m, D[n], b), written down as the RFC does."""
    if old_size == len(hashes):
        return [] if is_whole else [root_of(hashes)]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    if old_size <= k:
        return [*subproof(old_size, hashes[:k], is_whole=is_whole), root_of(hashes[k:])]
    return [*subproof(old_size - k, hashes[k:], is_whole=False), root_of(hashes[:k])]


def foreign(leaves: list[bytes]) -> pymerkle.InmemoryTree:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    tree.append_entries(leaves)
    return tree
