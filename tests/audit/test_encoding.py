"""The bytes of a record: canonical, committed, sealed, and the same for ever."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from tests.audit.ledgers import entry

from hanlin.audit.encoding import key_id_of, parse_leaf, seal, unseal
from hanlin.audit.frames import encode_frame
from hanlin.audit.subjects import SubjectKey
from hanlin.audit.tree import hash_leaf
from hanlin.domain import InvalidInputError

GOLDEN = Path(__file__).parents[1] / "golden" / "ledger_leaf.json"
SECRET = bytes(range(32))
KEY = SubjectKey(bytes(range(100, 116)), AESGCM(SECRET))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = st.text(st.characters(codec="ascii"), max_size=8)
details = st.recursive(
    texts | st.booleans() | st.none() | st.integers(-(2**53) + 1, 2**53 - 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


class TestLeaf:
    @given(values=st.dictionaries(names, details, max_size=4), text=texts)
    def test_is_canonical_json(self, values: dict[str, Any], text: str) -> None:
        """Whatever the details, the leaf is byte for byte what RFC 8785 prescribes for its content."""
        leaf = sealed(details=values, actor=text, request_id=text).leaf(7)

        decoded = json.loads(leaf)
        assert leaf == json.dumps(decoded, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        assert decoded["sequence"] == 7
        assert decoded["details"] == values

    def test_takes_its_sequence_whatever_the_texts_say(self) -> None:
        """A text that looks like the sequence field does not move it."""
        trap = '"sequence":0,'
        leaf = sealed(details={"sequence": 0, "trap": trap}, workspace=trap, request_id=trap).leaf(41)

        assert json.loads(leaf)["sequence"] == 41
        assert json.loads(leaf)["details"] == {"sequence": 0, "trap": trap}

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("details", {"score": 0.5}),
            ("details", {"n": 2**53}),
            ("details", {"名": "x"}),
            ("details", {"when": datetime(2026, 1, 1)}),  # noqa: DTZ001
            ("at", datetime(2026, 1, 1)),  # noqa: DTZ001
            ("request_id", "\ud800"),
            ("subject", "\ud800"),
        ],
    )
    def test_refuses_what_has_no_one_way_to_be_written(self, field: str, value: object) -> None:
        """Fractions, huge integers, foreign names, times without a zone and broken text are input errors."""
        with pytest.raises(InvalidInputError) as caught:
            sealed(**{field: value})

        assert caught.value.code == "ledger_entry_invalid"


class TestSealing:
    def test_keeps_private_fields_out_of_the_leaf(self) -> None:
        """Subject, address, request and result are in the leaf only as salted hashes, different every time."""
        one, other = sealed(entropy=os.urandom).leaf(0), sealed(entropy=os.urandom).leaf(0)

        for private in ("customer-0", "10.1.2.3", "服务太差了", "bad"):
            assert private.encode() not in one
        assert parse_leaf(one).commitments != parse_leaf(other).commitments

    def test_opens_each_commitment_by_itself(self) -> None:
        """With the salt of one field anybody can check that field, and learns nothing about the others."""
        record = sealed()
        private = unseal(record.private, KEY)

        salt = hashlib.sha256(private.seed + b"request").digest()[:16]
        assert parse_leaf(record.leaf(0)).commitments.request == hashlib.sha256(salt + private.request).hexdigest()
        assert private.commitments() == parse_leaf(record.leaf(0)).commitments

    def test_opens_with_its_own_key_only(self) -> None:
        """Another key, or one changed byte, opens nothing."""
        record = sealed()
        stranger = SubjectKey(KEY.id, AESGCM(bytes(32)))

        assert key_id_of(record.private) == KEY.id
        with pytest.raises(ValueError, match="does not decrypt"):
            unseal(record.private, stranger)
        with pytest.raises(ValueError, match="does not decrypt"):
            unseal(record.private[:-1] + bytes([record.private[-1] ^ 1]), KEY)


def test_the_encoding_is_the_golden_one() -> None:
    """Format 1 never changes: the same entry gives the same bytes in every version (HANLIN_GOLDEN=1 rewrites)."""
    record = sealed()
    leaf = record.leaf(42)
    found = {
        "leaf": leaf.decode(),
        "leaf_hash": hash_leaf(leaf).hex(),
        "private": record.private.hex(),
        "private_key": SECRET.hex(),
        "frame": encode_frame(42, 40, leaf, record.private).hex(),
    }
    if os.environ.get("HANLIN_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", "utf-8")

    assert found == json.loads(GOLDEN.read_text("utf-8"))


def sealed(entropy: Any = bytes, **changes: Any) -> Any:
    def key_for(subject: str) -> SubjectKey:
        subject.encode()
        return KEY

    return seal(entry(**changes), "gateway", key_for, entropy=entropy)
