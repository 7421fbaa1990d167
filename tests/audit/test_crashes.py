"""What survives: killed processes, cut power, a disk that is really full."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.audit import writing
from tests.audit.ledgers import Home, entry, eventually
from tests.audit.power import RecordingDisk

from hanlin.audit import Ledger, Query, iter_records, search, verify
from hanlin.domain import StorageFullError

KILLS = int(os.environ.get("HANLIN_TEST_KILLS", "5"))
CUTS = int(os.environ.get("HANLIN_TEST_CUTS", "150"))


class TestKilledProcess:
    def test_loses_nothing_it_acknowledged(self, home: Home) -> None:
        """After each of several kill -9 under load every acknowledged record is there, in its place, once."""
        seed, acknowledged = random.Random(7), dict[int, tuple[str, str]]()
        for _ in range(KILLS):
            acknowledged |= write_until_killed(home, len(acknowledged) * 10, after_s=seed.uniform(0.02, 0.2))
            started = time.perf_counter()
            home.open().close()
            assert time.perf_counter() - started < 2

        found = {record.index: (record.request_id, record.leaf_hash) for record in iter_records(home.root, Query())}
        assert len(acknowledged) > KILLS
        assert acknowledged.items() <= found.items()
        assert verify(home.root, home.keys).is_intact


class TestCutPower:
    def test_loses_nothing_acknowledged_whatever_reached_the_device(self, home: Home, tmp_path: Path) -> None:
        """
        At any moment of a busy life the power goes: of what was not synced any part may be on the device, in any
        order. Opening then succeeds, every acknowledged record is there, and verification finds nothing wrong.
        """
        disk = RecordingDisk(home.path)
        with (
            home.open(disk=disk, segment_bytes=6000, checkpoint_every_s=0.001) as ledger,
            ThreadPoolExecutor(4) as pool,
        ):

            def append(number: int) -> None:
                receipt = ledger.append_sync(entry(number, subject=f"s{number % 9}"))
                disk.acknowledge(receipt.index, receipt.leaf_hash)

            list(pool.map(append, range(60)))

        seed = random.Random(3)
        for cut in range(CUTS):
            survivor = Home(tmp_path / f"cut{cut}", home.keys)
            acknowledged = disk.replay(survivor.path, until=seed.randrange(len(disk.operations)), seed=seed)
            shutil.copytree(home.keys.folder, survivor.path / "secrets", dirs_exist_ok=True, ignore=_only_secrets)
            survivor.keys = type(home.keys).load(survivor.path / "secrets")

            with survivor.open() as ledger:
                ledger.append_sync(entry(1000))

            found = {record.index: record.leaf_hash for record in iter_records(survivor.root, Query())}
            assert acknowledged.items() <= found.items()
            opened = search(survivor.root, Query(), keys=survivor.keys, reveal=True, limit=100).records
            assert all(record.subject is not None for record in opened)
            assert verify(survivor.root, survivor.keys).is_intact
            shutil.rmtree(survivor.path)


class TestFullDisk:
    def test_stops_and_resumes_on_a_real_file_system(self, home: Home, small_disk: Path) -> None:
        """On a file system of 1 MB records are taken until it is full, refused with a reason, and taken again after."""
        small = Home(small_disk, home.keys)
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(600_000))
        with small.open(retry_every_s=0.01) as ledger:
            taken = append_until_full(ledger)
            assert ledger.is_failed

            ballast.unlink()
            eventually(lambda: not ledger.is_failed)
            ledger.append_sync(entry(taken))

        predictions = search(small.root, Query(kind="prediction"), newest_first=False, limit=1000).records
        assert [record.request_id for record in predictions] == [f"req_{number:06d}" for number in range(taken + 1)]
        assert verify(small.root, home.keys).is_intact


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB; mounting one takes root."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False, timeout=10
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a file system here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True, timeout=10)


def append_until_full(ledger: Ledger) -> int:
    """Append until there is no room, and return how many records were acknowledged."""
    for number in range(1000):
        try:
            ledger.append_sync(entry(number, request=bytes(5000)))
        except StorageFullError:
            return number
    raise AssertionError("the disk did not fill")


def write_until_killed(home: Home, start: int, *, after_s: float) -> dict[int, tuple[str, str]]:
    """Run a writer, kill it a moment after its first acknowledgement, and return what it had acknowledged by then."""
    process = subprocess.Popen([sys.executable, writing.__file__, home.path, str(start)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    reader = ThreadPoolExecutor(1)
    rest = reader.submit(process.stdout.readlines)
    time.sleep(after_s)
    process.kill()
    process.wait()
    lines += rest.result()
    process.stdout.close()
    reader.shutdown()
    whole = [line.decode().split() for line in lines if line.endswith(b"\n")]
    return {int(index): (number, leaf_hash) for index, number, leaf_hash in whole}


def _only_secrets(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "subjects"]
