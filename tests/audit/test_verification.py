"""Whatever is done to the bytes, verification finds it and says where."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.audit.ledgers import Home, entry
from tests.audit.test_recovery import frames

from hanlin.audit import Disk, inclusion_proof, verify, verify_inclusion
from hanlin.audit.frames import Frame, encode_frame, iter_frames
from hanlin.audit.log import Log
from hanlin.audit.segments import list_segments, read_header, reading


class TestIntactLedger:
    def test_is_confirmed_log_by_log(self, home: Home) -> None:
        """Size and root of each log are recomputed and equal to what its writer said."""
        home.fill(5, "control")
        with home.open() as ledger:
            for number in range(7):
                ledger.append_sync(entry(number))
            size, root = ledger.head

        report = verify(home.root, home.keys)

        assert report.is_intact
        assert report.size == 12
        assert [(log.writer, log.size) for log in report.logs] == [("control", 5), ("gateway", 7)]
        assert (report.logs[1].size, report.logs[1].root, report.logs[1].signed_size) == (size, root, 7)
        assert report.first_bad is None

    def test_is_confirmed_while_it_grows(self, home: Home) -> None:
        """A log that is being written verifies too; its newest records are just not signed yet."""
        with home.open(checkpoint_every_s=3600) as ledger:
            ledger.append_sync(entry())
            report = verify(home.root, home.keys)

        assert report.is_intact
        assert (report.logs[0].size, report.logs[0].signed_size) == (1, 0)

    def test_is_confirmed_after_an_erasure(self, home: Home) -> None:
        """With a subject's key destroyed every proof still holds; the record is counted as erased."""
        home.fill(4)
        path = home.keys.subjects_path("gateway")
        path.write_bytes(bytes(96) + path.read_bytes()[96:])

        report = verify(home.root, home.keys)

        assert report.is_intact
        assert report.logs[0].erased == 2

    def test_gives_roots_that_receipts_lead_to(self, home: Home) -> None:
        """A receipt's leaf hash and an inclusion proof lead to the verified root."""
        hashes = [bytes.fromhex(leaf_hash) for leaf_hash in home.fill(9)]
        root = bytes.fromhex(verify(home.root, home.keys).logs[0].root)

        assert all(verify_inclusion(leaf, n, 9, inclusion_proof(hashes, n), root) for n, leaf in enumerate(hashes))


class TestFlippedByte:
    def test_is_found_and_named_wherever_it_is(self, home: Home) -> None:
        """Any single flipped bit in any file of the log is found; in a record, it is named by its index."""
        home.fill(60, segment_bytes=16_000)
        seed = random.Random(2026)
        spans = {(path, frame.offset, frame.end): frame.index for path, frame in placed(home)}

        for _ in range(150):
            path = seed.choice([*home.segments(), home.root / "gateway" / "checkpoint"])
            data = path.read_bytes()
            at = seed.randrange(len(data))
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << seed.randrange(8)]) + data[at + 1 :])

            bad = verify(home.root, home.keys).first_bad

            assert bad is not None, (path.name, at)
            assert bad.finding
            index = next(
                (index for (file, start, end), index in spans.items() if file == path and start <= at < end), None
            )
            if index is not None:
                assert (bad.writer, bad.first_bad_index) == ("gateway", index)
            path.write_bytes(data)

        assert verify(home.root, home.keys).is_intact


class TestForgery:
    """What somebody can do who knows the format, has root rights, and not the signing key."""

    @pytest.mark.parametrize(
        ("forge", "index", "finding"),
        [
            (lambda kept: [*kept[:3], *kept[4:]], 3, "record 4 stands in its place"),
            (lambda kept: [*kept[:3], kept[4], kept[3], *kept[5:]], 3, "record 4 stands in its place"),
            (lambda kept: [*kept[:4], kept[3], *kept[4:]], 4, "record 3 stands in its place"),
            (lambda kept: kept[:-1], 9, "the record is missing: 10 were signed, 9 are there"),
        ],
        ids=["delete", "swap", "insert", "truncate"],
    )
    def test_of_the_order_is_named(
        self, home: Home, forge: Callable[..., list[bytes]], index: int, finding: str
    ) -> None:
        """Records that were removed, moved, repeated or cut off are named by the first index that is wrong."""
        home.fill(10)
        rewrite(home, forge)

        bad = verify(home.root, home.keys).first_bad

        assert bad is not None
        assert (bad.first_bad_index, bad.finding) == (index, finding)

    def test_of_a_record_with_a_fitting_checksum_is_found(self, home: Home) -> None:
        """A record rewritten with its checksum contradicts the signed root; the span it lies in is named."""
        home.fill(10)
        frame = frames(home)[4]
        forged = encode_frame(4, frame.durable, frame.leaf.replace("负面".encode(), "正面".encode()), frame.private)
        rewrite(home, lambda kept: [*kept[:4], forged, *kept[5:]])

        bad = verify(home.root, home.keys).first_bad

        assert bad is not None
        assert bad.finding == "the records 0 to 9 are not those that were signed at size 10"

    def test_of_a_private_part_is_named(self, home: Home) -> None:
        """A private part taken from another record of the same person does not fit the commitments."""
        home.fill(10)
        kept = frames(home)
        forged = encode_frame(4, kept[4].durable, kept[4].leaf, kept[1].private)
        rewrite(home, lambda data: [*data[:4], forged, *data[5:]])

        bad = verify(home.root, home.keys).first_bad

        assert bad is not None
        assert bad.first_bad_index == 4
        assert bad.finding == "its private ip, request, result, subject is not what it commits to"

    def test_of_a_whole_segment_is_found(self, home: Home) -> None:
        """A middle segment cannot be taken out."""
        home.fill(50, segment_bytes=8000)
        second = home.segments()[1]
        first_index = int(second.stem)
        second.unlink()

        bad = verify(home.root, home.keys).first_bad

        assert bad is not None
        assert bad.first_bad_index == first_index

    def test_by_an_older_copy_is_found_when_the_checkpoint_stays(self, home: Home, tmp_path: Path) -> None:
        """A log put back to an older state contradicts its newest checkpoint."""
        home.fill(3)
        shutil.copytree(home.root / "gateway", tmp_path / "old")
        home.fill(3)
        shutil.copy(tmp_path / "old" / home.segments()[0].name, home.segments()[0])

        bad = verify(home.root, home.keys).first_bad

        assert bad is not None
        assert bad.first_bad_index == 3

    def test_by_taking_a_log_away_is_found(self, home: Home) -> None:
        """A log whose subject keys are there but whose folder is gone is missing."""
        home.fill(3)
        shutil.rmtree(home.root / "gateway")

        bad = verify(home.root, home.keys).first_bad

        assert bad is not None
        assert bad.finding == "the log or its checkpoint is gone"


class TestUnfinishedWrite:
    def test_is_told_apart_from_damage(self, home: Home) -> None:
        """The rest of an interrupted write was promised to nobody: it is counted, not blamed."""
        home.fill(3)
        log = Log.open(home.root, "gateway", keys=home.keys, disk=Disk(), segment_bytes=1 << 20)
        log.append([log.seal(entry(3))])
        log.close()
        (segment,) = home.segments()
        segment.write_bytes(segment.read_bytes()[:-10])

        report = verify(home.root, home.keys)

        assert report.is_intact
        assert report.logs[0].size == 3
        assert report.logs[0].torn_bytes > 0


def placed(home: Home) -> list[tuple[Path, Frame]]:
    found: list[tuple[Path, Frame]] = []
    for segment in list_segments(home.root / "gateway"):
        with reading(segment.path) as (file, size):
            found += [(segment.path, frame) for frame in iter_frames(file, read_header(file, segment)[1], size)]
    return found


def rewrite(home: Home, forge: Callable[[list[bytes]], list[bytes]]) -> None:
    """Rewrite the only segment with the frames that *forge* makes of the real ones."""
    (segment,) = home.segments()
    data = segment.read_bytes()
    kept = frames(home)
    records = [data[frame.offset : frame.end] for frame in kept]
    segment.write_bytes(data[: kept[0].offset] + b"".join(forge(records)))
