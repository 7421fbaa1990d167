"""The ledger's secrets, and the keys of those who are written about."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tests.audit.ledgers import FailingDisk, Home

from hanlin.audit import LedgerKeys
from hanlin.audit.subjects import Ring, SubjectKeys
from hanlin.domain import ConflictError


class TestLedgerKeys:
    def test_are_made_once_and_for_the_owner_only(self, tmp_path: Path) -> None:
        """The first load makes them, every later one finds the same; nobody else can read them."""
        first, again = LedgerKeys.load(tmp_path / "secrets"), LedgerKeys.load(tmp_path / "secrets")

        assert (first.master, first.origin("gateway")) == (again.master, again.origin("gateway"))
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()}
        assert modes == {"ledger_signing_key": 0o600, "ledger_master_key": 0o600}

    def test_are_not_shown_by_accident(self, home: Home) -> None:
        """Printing them shows neither secret."""
        assert home.keys.master.hex() not in repr(home.keys)
        assert "Ed25519" not in repr(home.keys)

    def test_that_were_cut_short_are_refused(self, tmp_path: Path) -> None:
        """A key file of the wrong length is not replaced silently."""
        (tmp_path / "ledger_master_key").write_bytes(b"short")

        with pytest.raises(ConflictError, match="holds 5 bytes") as caught:
            LedgerKeys.load(tmp_path)
        assert caught.value.code == "ledger_keys_unreadable"


class TestSubjectKeys:
    def test_are_one_per_subject_and_last(self, home: Home) -> None:
        """A subject keeps its key over restarts; another has another; both can be found by id."""
        disk = FailingDisk()
        keys = SubjectKeys(home.keys, "gateway", disk)
        alice, bob = keys.key_for("alice"), keys.key_for("bob")
        keys.flush()
        keys.close()

        again = SubjectKeys(home.keys, "gateway", disk)
        assert again.key_for("alice").id == alice.id != bob.id
        again.close()
        ring = Ring(home.keys, "gateway")
        found = ring.find(bob.id)
        assert found is not None
        assert found.cipher.decrypt(bytes(12), bob.cipher.encrypt(bytes(12), b"x", b""), b"") == b"x"
        assert ring.ids_of("alice") == [alice.id]

    def test_say_nothing_about_who_is_in_the_file(self, home: Home) -> None:
        """Neither names nor usable keys are in it, and its mode is 0600."""
        keys = SubjectKeys(home.keys, "gateway", FailingDisk())
        keys.key_for("alice@example.com")
        keys.flush()
        keys.close()

        path = home.keys.subjects_path("gateway")
        assert b"alice" not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600

    def test_survive_a_failed_flush(self, home: Home) -> None:
        """Keys that could not be written are written with the next flush, once."""
        disk = FailingDisk()
        keys = SubjectKeys(home.keys, "gateway", disk)
        alice = keys.key_for("alice")
        disk.sync_error = errno.EIO
        with pytest.raises(OSError, match="Input/output"):
            keys.flush()
        disk.sync_error = None
        bob = keys.key_for("bob")
        keys.flush()
        keys.close()

        assert home.keys.subjects_path("gateway").stat().st_size == 2 * 96
        assert all(Ring(home.keys, "gateway").find(key.id) for key in (alice, bob))

    def test_pass_over_a_torn_or_damaged_row(self, home: Home) -> None:
        """Half a row at the end is overwritten; a damaged one costs its own subject's key and no other."""
        keys = SubjectKeys(home.keys, "gateway", FailingDisk())
        alice, bob = keys.key_for("alice"), keys.key_for("bob")
        keys.flush()
        keys.close()
        path = home.keys.subjects_path("gateway")
        data = path.read_bytes()
        path.write_bytes(data[:10] + bytes([data[10] ^ 1]) + data[11:] + b"torn")

        again = SubjectKeys(home.keys, "gateway", FailingDisk())
        assert again.find(alice.id) is None
        assert again.key_for("bob").id == bob.id
        carol = again.key_for("carol")
        again.flush()
        again.close()
        assert path.stat().st_size == 3 * 96
        assert Ring(home.keys, "gateway").ids_of("carol") == [carol.id]

    def test_are_seen_by_a_reader_that_was_there_first(self, home: Home) -> None:
        """A key made after a reader opened the file is found all the same."""
        ring = Ring(home.keys, "gateway")
        keys = SubjectKeys(home.keys, "gateway", FailingDisk())
        alice = keys.key_for("alice")
        keys.flush()
        keys.close()

        assert ring.find(alice.id) is not None

    def test_need_their_own_master_key(self, home: Home) -> None:
        """Under other secrets they do not open, and that is said instead of taken for an erasure."""
        keys = SubjectKeys(home.keys, "gateway", FailingDisk())
        alice = keys.key_for("alice")
        keys.flush()
        keys.close()
        (home.keys.folder / "ledger_master_key").unlink()

        with pytest.raises(ConflictError, match="do not open with this master key"):
            Ring(LedgerKeys.load(home.keys.folder), "gateway").find(alice.id)
