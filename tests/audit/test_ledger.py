"""Appending: acknowledged means on disk, whatever the disk does."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop
from tests.audit.ledgers import FailingDisk, Home, entry, eventually

from hanlin.audit import Commit, Ledger, Query, search, verify
from hanlin.domain import LedgerUnavailableError, PlatformError, StorageFullError


class TestAppend:
    async def test_numbers_records_in_order(self, home: Home) -> None:
        """Receipts name the writer, a place without gaps, and the leaf."""
        with home.open() as ledger:
            receipts = [await ledger.append(entry(number)) for number in range(3)]

        found = search(home.root, Query(), newest_first=False).records
        assert [(receipt.writer, receipt.index) for receipt in receipts] == [
            ("gateway", 0),
            ("gateway", 1),
            ("gateway", 2),
        ]
        assert [receipt.leaf_hash for receipt in receipts] == [record.leaf_hash for record in found]

    def test_serves_loops_and_threads_at_once(self, home: Home) -> None:
        """Records from uvloop and from plain threads share one log, each acknowledged once."""

        async def from_loop(ledger: Ledger) -> list[int]:
            receipts = await asyncio.gather(*(ledger.append(entry(number)) for number in range(200)))
            return [receipt.index for receipt in receipts]

        with home.open() as ledger, ThreadPoolExecutor(4) as pool:
            in_threads = [pool.submit(ledger.append_sync, entry(number)) for number in range(200)]
            indexes = uvloop.run(from_loop(ledger)) + [job.result().index for job in in_threads]

        assert sorted(indexes) == list(range(400))
        assert verify(home.root, home.keys).size == 400

    def test_is_not_acknowledged_before_the_sync(self, home: Home) -> None:
        """While the sync is under way nobody has an answer, and the size does not count the record."""
        disk = FailingDisk()
        with home.open(disk=disk) as ledger, ThreadPoolExecutor(1) as pool:
            hold(disk)
            job = pool.submit(ledger.append_sync, entry())
            disk.syncing.wait()

            assert not job.done()
            assert ledger.size == 0

            disk.sync_gate.set()
            assert job.result().index == 0
            assert ledger.size == 1

    def test_commits_together_what_waited_for_a_sync(self, home: Home) -> None:
        """What arrives during one sync shares the next one; there is no timer in between."""
        disk, commits = FailingDisk(), list[Commit]()
        with home.open(disk=disk, on_commit=commits.append) as ledger, ThreadPoolExecutor(9) as pool:
            ledger.append_sync(entry())
            hold(disk)
            first = pool.submit(ledger.append_sync, entry(1))
            disk.syncing.wait()
            others = [pool.submit(ledger.append_sync, entry(number)) for number in range(2, 10)]
            eventually(lambda: len(ledger._waiting) == 8)
            disk.sync_gate.set()
            for job in [first, *others]:
                job.result()

        assert [len(commit.waited_s) for commit in commits] == [1, 1, 8]
        assert [commit.size for commit in commits] == [1, 2, 10]
        assert all(waited > 0 for commit in commits for waited in commit.waited_s)

    async def test_goes_on_when_the_caller_went_away(self, home: Home) -> None:
        """A cancelled request is recorded all the same, and disturbs nobody else in its group."""
        disk = FailingDisk()
        ledger = home.open(disk=disk)
        hold(disk)
        gone, stays = asyncio.create_task(ledger.append(entry(0))), asyncio.create_task(ledger.append(entry(1)))
        await asyncio.to_thread(disk.syncing.wait)
        gone.cancel()
        await asyncio.sleep(0)
        disk.sync_gate.set()

        assert (await stays).index == 1
        assert gone.cancelled()
        ledger.close()
        assert verify(home.root, home.keys).size == 2

    def test_is_bounded(self, home: Home) -> None:
        """Past its bound the queue refuses instead of growing."""
        disk = FailingDisk()
        with home.open(disk=disk, max_waiting=2) as ledger, ThreadPoolExecutor(3) as pool:
            hold(disk)
            jobs = [pool.submit(ledger.append_sync, entry(0))]
            disk.syncing.wait()
            jobs += [pool.submit(ledger.append_sync, entry(number)) for number in (1, 2)]
            eventually(lambda: len(ledger._waiting) == 2)

            with pytest.raises(LedgerUnavailableError) as caught:
                ledger.append_sync(entry(3))

            disk.sync_gate.set()
            assert caught.value.code == "ledger_busy"
            assert {job.result().index for job in jobs} == {0, 1, 2}

    def test_is_refused_after_close(self, home: Home) -> None:
        """Closing writes what waits, then takes nothing more; closing twice is harmless."""
        ledger = home.open()
        ledger.close()
        ledger.close()

        with pytest.raises(LedgerUnavailableError, match="closed"):
            ledger.append_sync(entry())

    def test_is_signed_within_a_moment(self, home: Home) -> None:
        """While the log grows a checkpoint follows by itself; an idle log signs nothing."""
        checkpoint = home.root / "gateway" / "checkpoint"
        with home.open(checkpoint_every_s=0.02) as ledger:
            ledger.append_sync(entry())
            eventually(lambda: checkpoint.read_text("utf-8").split("\n")[1] == "1")
            signed_at = checkpoint.stat().st_mtime_ns
            threading.Event().wait(0.1)

            assert checkpoint.stat().st_mtime_ns == signed_at


class TestFailingSync:
    @pytest.mark.parametrize("loses_unsynced", [False, True])
    def test_acknowledges_nothing_and_recovers(self, home: Home, loses_unsynced: bool) -> None:
        """After a failed fsync nothing of the group is acknowledged or kept; the log goes on once the disk does."""
        disk = FailingDisk(loses_unsynced=loses_unsynced)
        with home.open(disk=disk, retry_every_s=0.01) as ledger:
            first = ledger.append_sync(entry(0))
            disk.sync_error = errno.EIO

            with pytest.raises(LedgerUnavailableError) as caught:
                ledger.append_sync(entry(1))
            assert caught.value.code == "ledger_unavailable"
            assert ledger.is_failed
            assert refused(lambda: ledger.append_sync(entry(2)), LedgerUnavailableError)

            disk.sync_error = None
            eventually(lambda: not ledger.is_failed)
            last = ledger.append_sync(entry(3))

        records = search(home.root, Query(), newest_first=False).records
        assert [record.leaf_hash for record in (records[0], records[-1])] == [first.leaf_hash, last.leaf_hash]
        assert [record.request_id for record in records if record.kind == "prediction"] == ["req_000000", "req_000003"]
        assert verify(home.root, home.keys).is_intact

    def test_leaves_a_record_of_the_gap(self, home: Home) -> None:
        """The log itself tells that it stopped, why, and how many records it refused."""
        disk = FailingDisk()
        with home.open(disk=disk, retry_every_s=0.01) as ledger:
            disk.sync_error = errno.EIO
            for number in range(3):
                refused(lambda number=number: ledger.append_sync(entry(number)), LedgerUnavailableError)  # type: ignore[misc]
            disk.sync_error = None
            eventually(lambda: not ledger.is_failed)

        (gap,) = search(home.root, Query(action="ledger.resumed")).records
        assert gap.details["refused"] == 3
        assert gap.details["cause"] == "Input/output error"

    def test_stops_for_good_when_the_device_lost_acknowledged_records(self, home: Home) -> None:
        """What was acknowledged is read back from the device; when it is not there, nothing is acknowledged again."""
        disk = FailingDisk()
        with home.open(disk=disk, retry_every_s=0.01) as ledger:
            ledger.append_sync(entry(0))
            data = bytearray(home.segments()[0].read_bytes())
            data[-60] ^= 1
            home.segments()[0].write_bytes(data)
            disk.sync_error = errno.EIO
            refused(lambda: ledger.append_sync(entry(1)), LedgerUnavailableError)
            disk.sync_error = None

            eventually(lambda: "damaged" in refusal_of(ledger))
            assert ledger.is_failed

    def test_of_a_new_subjects_key_is_a_failure_too(self, home: Home) -> None:
        """No record is acknowledged before the key that opens it is durable, and no key is lost by the failure."""
        disk = FailingDisk()
        with home.open(disk=disk, retry_every_s=0.01) as ledger:
            disk.sync_error = errno.EIO
            refused(lambda: ledger.append_sync(entry(0, subject="new")), LedgerUnavailableError)
            disk.sync_error = None
            eventually(lambda: not ledger.is_failed)
            ledger.append_sync(entry(1, subject="new"))

        (record,) = search(home.root, Query(subject="new"), keys=home.keys, reveal=True).records
        assert record.request_id == "req_000001"


class TestFullDisk:
    def test_is_told_and_ends_by_itself(self, home: Home) -> None:
        """No room is 507 with a code; half-written bytes are taken back; with room again the log goes on."""
        disk = FailingDisk()
        with home.open(disk=disk, retry_every_s=0.01) as ledger:
            ledger.append_sync(entry(0))
            size = home.segments()[0].stat().st_size
            disk.room_bytes = size + 300

            with pytest.raises(StorageFullError) as caught:
                ledger.append_sync(entry(1))
            assert caught.value.code == "storage_full"
            assert refused(lambda: ledger.append_sync(entry(2)), StorageFullError)
            eventually(lambda: home.segments()[0].stat().st_size <= size + 300)

            disk.room_bytes = None
            eventually(lambda: not ledger.is_failed)
            ledger.append_sync(entry(3))

        predictions = search(home.root, Query(kind="prediction"), newest_first=False).records
        assert [record.request_id for record in predictions] == ["req_000000", "req_000003"]
        assert verify(home.root, home.keys).is_intact

    def test_can_be_closed_and_opened_meanwhile(self, home: Home) -> None:
        """Closing on a full disk loses nothing that was acknowledged."""
        disk = FailingDisk()
        ledger = home.open(disk=disk)
        ledger.append_sync(entry(0))
        disk.room_bytes = 0
        refused(lambda: ledger.append_sync(entry(1)), StorageFullError)
        ledger.close()

        with home.open() as again:
            assert again.size == 1


def hold(disk: FailingDisk) -> None:
    """Let the next sync wait until the gate is opened."""
    disk.sync_gate.clear()
    disk.syncing.clear()


def refused(append: Callable[[], object], error: type[PlatformError]) -> bool:
    with pytest.raises(error):
        append()
    return True


def refusal_of(ledger: Ledger) -> str:
    try:
        ledger.append_sync(entry())
    except LedgerUnavailableError as error:
        return str(error)
    return ""
