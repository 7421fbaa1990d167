from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.fleet.programs import command

from hanlin.domain import ConflictError
from hanlin.fleet import FolderLock


class TestFolderLock:
    def test_a_second_holder_is_refused_and_told_who_has_it(self, tmp_path: Path) -> None:
        """One platform per folder: the second is refused, by the number of the process that runs."""
        path = tmp_path / "hanlin.lock"

        with running_holder(path) as holder, pytest.raises(ConflictError, match=rf"\(process {holder.pid}\)") as caught:
            FolderLock(path).acquire()

        assert caught.value.code == "already_running"
        assert str(tmp_path) in caught.value.message
        assert "--data" in caught.value.hint

    def test_a_killed_holder_holds_nothing(self, tmp_path: Path) -> None:
        """The lock ends with the process, even by kill -9; the file that stays is in nobody's way."""
        path = tmp_path / "hanlin.lock"
        next_one = FolderLock(path)
        with running_holder(path) as holder:
            holder.kill()
            holder.wait(10)

            next_one.acquire()

        assert path.read_text() == str(os.getpid())
        next_one.release()

    def test_release_lets_the_next_one_in(self, tmp_path: Path) -> None:
        """Released, which may be done twice, the folder can be taken again."""
        first, second = FolderLock(tmp_path / "lock"), FolderLock(tmp_path / "lock")
        first.acquire()
        with pytest.raises(ConflictError):
            second.acquire()

        first.release()
        first.release()
        second.acquire()

        with pytest.raises(ConflictError):
            first.acquire()
        second.release()

    def test_only_the_owner_may_read_it(self, tmp_path: Path) -> None:
        """The lock's file is closed to others, as all that lies in the folder."""
        lock = FolderLock(tmp_path / "lock")
        lock.acquire()

        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
        lock.release()


@contextmanager
def running_holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the lock."""
    with subprocess.Popen(command("holder", path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        yield process
        process.kill()
