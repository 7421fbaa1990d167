"""Opening a log after whatever happened to it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.audit.ledgers import CarelessDisk, Home, entry
from tests.audit.power import RecordingDisk

from hanlin.audit import Disk, Query, hash_leaf, search, verify
from hanlin.audit.frames import Frame, iter_frames
from hanlin.audit.log import Log
from hanlin.audit.segments import list_segments, read_header, reading
from hanlin.domain import ConflictError, InvalidInputError


def frames(home: Home, writer: str = "gateway") -> list[Frame]:
    found: list[Frame] = []
    for segment in list_segments(home.root / writer):
        with reading(segment.path) as (file, size):
            found += iter_frames(file, read_header(file, segment)[1], size)
    return found


class TestOpening:
    def test_goes_on_where_the_log_ended(self, home: Home) -> None:
        """Size, root and numbering continue over restarts."""
        home.fill(3)

        with home.open() as ledger:
            assert ledger.size == 3
            assert ledger.append_sync(entry(3)).index == 3
        assert verify(home.root, home.keys).size == 4

    def test_reads_the_last_segment_only(self, home: Home) -> None:
        """A damaged old segment does not slow down or stop a writer; verification finds it."""
        home.fill(40, segment_bytes=4000)
        old = home.segments()[0]
        old.write_bytes(old.read_bytes()[:-1] + b"?")

        with home.open() as ledger:
            assert ledger.size == 40
        assert not verify(home.root, home.keys).is_intact

    def test_is_for_one_process_at_a_time(self, home: Home) -> None:
        """A second writer on the same log is refused; another log is not."""
        with home.open():
            with pytest.raises(ConflictError) as caught:
                home.open()
            home.open("control").close()

        assert caught.value.code == "ledger_locked"
        home.open().close()

    def test_refuses_names_that_are_paths(self, home: Home) -> None:
        """A writer's name cannot lead out of the folder."""
        for name in ("", "../x", "a/b", "A", "."):
            with pytest.raises(InvalidInputError):
                home.open(name)

    def test_survives_a_crash_while_the_log_was_made(self, home: Home) -> None:
        """A folder with the first checkpoint and no segment yet is a new log."""
        home.open().close()
        home.segments()[0].unlink()

        home.fill(2)

        assert verify(home.root, home.keys).size == 2


class TestTornTail:
    def test_is_cut_off_at_every_byte(self, home: Home, tmp_path: Path) -> None:
        """Wherever within the last, unacknowledged group a write broke off, all records before it are there."""
        acknowledged, whole = crashed(home)
        (segment,) = home.segments()
        data = segment.read_bytes()
        after = {frame.end: frame.index + 1 for frame in whole}
        start = whole[len(acknowledged) - 1].end

        for cut in range(start, len(data)):
            segment.write_bytes(data[:cut])
            with home.open(disk=CarelessDisk(), checkpoint_every_s=3600) as ledger:
                survivors = max(size for end, size in after.items() if end <= cut)
                assert ledger.size == survivors
                assert ledger.append_sync(entry(99)).index == survivors
            found = [hash_leaf(frame.leaf).hex() for frame in frames(home)]
            assert found[: len(acknowledged)] == acknowledged
            restore_checkpoint(home)

    def test_is_cut_off_when_blocks_went_missing(self, home: Home) -> None:
        """A power cut may leave a hole of zeros in the last group, with whole records behind it."""
        acknowledged, whole = crashed(home)
        (segment,) = home.segments()
        torn = whole[len(acknowledged)]
        data = bytearray(segment.read_bytes())
        data[torn.offset + 40 : torn.offset + 80] = bytes(40)
        segment.write_bytes(data)

        with home.open() as ledger:
            assert ledger.size == len(acknowledged)
        assert verify(home.root, home.keys).is_intact

    def test_that_is_whole_is_kept_and_made_durable(self, home: Home) -> None:
        """Records that were written but not synced count once they are on the device, before anything is added."""
        crashed(home)
        disk = RecordingDisk(home.path)

        home.open(disk=disk).close()

        (segment,) = home.segments()
        assert [step.verb for step in disk.operations if step.path == segment.relative_to(home.path)] == ["sync"]
        assert verify(home.root, home.keys).size == 10


class TestContradictions:
    def test_of_the_checkpoint_by_a_short_log_are_refused(self, home: Home) -> None:
        """A log that lost a signed record is not written to again."""
        home.fill(5)
        (segment,) = home.segments()
        last = frames(home)[-1]
        segment.write_bytes(segment.read_bytes()[: last.offset])

        with pytest.raises(ConflictError, match=r"record 4.*missing: 5 were signed, 4 are there") as caught:
            home.open()

        assert caught.value.code == "ledger_corrupt"

    def test_of_the_checkpoint_by_other_records_are_refused(self, home: Home, tmp_path: Path) -> None:
        """A log of the right length with other records in it is not written to again."""
        home.fill(5)
        shutil.copytree(home.root / "gateway", tmp_path / "kept")
        shutil.rmtree(home.root / "gateway")
        home.fill(5)
        shutil.copy(tmp_path / "kept" / "checkpoint", home.root / "gateway" / "checkpoint")

        with pytest.raises(ConflictError, match="not those that were signed at size 5"):
            home.open()

    def test_inside_the_last_second_are_refused_too(self, home: Home) -> None:
        """Damage to an acknowledged record that no checkpoint covers yet shows by what later records say."""
        acknowledged, whole = crashed(home)
        (segment,) = home.segments()
        data = bytearray(segment.read_bytes())
        data[whole[len(acknowledged) - 2].offset + 50] ^= 1
        segment.write_bytes(data)

        with pytest.raises(ConflictError, match=f"record {len(acknowledged) - 2}: its checksum"):
            home.open()

    def test_by_a_missing_checkpoint_or_log_are_refused(self, home: Home) -> None:
        """Neither half of a log can be taken away."""
        home.fill(3)
        checkpoint = home.root / "gateway" / "checkpoint"
        kept = checkpoint.read_bytes()
        checkpoint.unlink()
        with pytest.raises(ConflictError, match="no checkpoint"):
            home.open()

        checkpoint.write_bytes(kept)
        home.segments()[0].unlink()
        with pytest.raises(ConflictError, match="3 were signed, none is there"):
            home.open()

    def test_leave_the_log_as_it_was(self, home: Home) -> None:
        """A refused log is evidence: opening it changes nothing and holds no lock."""
        home.fill(5)
        (segment,) = home.segments()
        damaged = segment.read_bytes()[:-3]
        segment.write_bytes(damaged)

        for _ in range(2):
            with pytest.raises(ConflictError, match="is damaged"):
                home.open()

        assert segment.read_bytes() == damaged

    def test_of_the_signing_key_are_refused(self, home: Home) -> None:
        """With other secrets the log cannot be vouched for, and is not written to."""
        home.fill(1)
        (home.path / "secrets" / "ledger_signing_key").unlink()

        with pytest.raises(ConflictError, match=r"is of 'hanlin\.ledger/"):
            Home.at(home.path).open()


class TestRotation:
    def test_begins_a_new_segment_past_the_bound(self, home: Home) -> None:
        """Segments stay near their bound, and the log reads as one."""
        hashes = home.fill(50, segment_bytes=4000)

        assert len(home.segments()) > 5
        assert [hash_leaf(frame.leaf).hex() for frame in frames(home)] == hashes
        assert verify(home.root, home.keys).is_intact
        assert [record.index for record in search(home.root, Query(), limit=60).records] == list(range(49, -1, -1))

    def test_can_be_interrupted(self, home: Home) -> None:
        """A new segment that was prepared but not put in place disturbs nobody."""
        home.fill(10)
        (home.root / "gateway" / f"{10:016d}.log.new").write_bytes(b"half a header")

        with home.open(segment_bytes=100) as ledger:
            ledger.append_sync(entry(10))

        assert len(home.segments()) == 2
        assert verify(home.root, home.keys).size == 11


def crashed(home: Home) -> tuple[list[str], list[Frame]]:
    """
    Leave a log as a crash does: 8 acknowledged records of which 4 are signed, then a group of 2 that was not synced.

    Returns the leaf hashes of the acknowledged records and all frames.
    """
    acknowledged = home.fill(4)
    keep_checkpoint(home)
    with home.open(checkpoint_every_s=3600) as ledger:
        acknowledged += [ledger.append_sync(entry(number)).leaf_hash for number in range(4, 8)]
    restore_checkpoint(home)
    append_group(home, 2)
    return acknowledged, frames(home)


def keep_checkpoint(home: Home) -> None:
    shutil.copy(home.root / "gateway" / "checkpoint", home.path / "kept")


def restore_checkpoint(home: Home) -> None:
    shutil.copy(home.path / "kept", home.root / "gateway" / "checkpoint")


def append_group(home: Home, count: int) -> None:
    """Append *count* records in one group and forget the checkpoint that closing signs."""
    log = Log.open(home.root, "gateway", keys=home.keys, disk=Disk(), segment_bytes=1 << 20)
    log.append([log.seal(entry(number)) for number in range(100, 100 + count)])
    log.close()
