"""Signed checkpoints in the form of the transparency-log world."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hanlin.audit import Checkpoint, verifier_key

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "hanlin.ledger/test/gateway"
CHECKPOINT = Checkpoint(ORIGIN, 1042, bytes(32))
NOTE = CHECKPOINT.signed(KEY)


class TestCheckpoint:
    def test_is_a_signed_note(self) -> None:
        """Three lines, a blank one, and a signature line that names the log (C2SP tlog-checkpoint)."""
        lines = NOTE.split("\n")

        assert lines[:4] == [ORIGIN, "1042", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", ""]
        assert lines[4].startswith(f"— {ORIGIN} ")
        assert Checkpoint.verified(NOTE, ORIGIN, KEY.public_key()) == CHECKPOINT

    def test_bears_signatures_of_witnesses(self) -> None:
        """A line by somebody else does not disturb; the log's own still counts."""
        witnessed = NOTE + "— witness.example/w1 Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5\n"

        assert Checkpoint.verified(witnessed, ORIGIN, KEY.public_key()) == CHECKPOINT

    @pytest.mark.parametrize("position", range(len(NOTE)))
    def test_falls_with_any_character(self, position: int) -> None:
        """Whichever character is changed, it does not count any more."""
        changed = NOTE[:position] + chr(ord(NOTE[position]) ^ 1) + NOTE[position + 1 :]

        with pytest.raises(ValueError, match="checkpoint"):
            Checkpoint.verified(changed, ORIGIN, KEY.public_key())

    def test_counts_only_for_its_log_and_its_key(self) -> None:
        """The checkpoint of another log, or by another key, is no checkpoint."""
        stranger = Ed25519PrivateKey.generate()

        with pytest.raises(ValueError, match="not of"):
            Checkpoint.verified(NOTE, "hanlin.ledger/test/control", KEY.public_key())
        with pytest.raises(ValueError, match="not signed by this ledger's key"):
            Checkpoint.verified(NOTE, ORIGIN, stranger.public_key())
        with pytest.raises(ValueError, match="not a signed note"):
            Checkpoint.verified("", ORIGIN, KEY.public_key())

    def test_has_a_key_line_for_foreign_tools(self) -> None:
        """The verifier key is name, key id and typed public key, joined by plus signs."""
        name, key_id, encoded = verifier_key(ORIGIN, KEY.public_key()).split("+", 2)

        assert (name, len(key_id), encoded[:2]) == (ORIGIN, 8, "AQ")
