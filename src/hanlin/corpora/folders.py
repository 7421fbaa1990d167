"""Folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hanlin.domain import ConflictError, StorageFullError

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """
    Give a new folder beside *out* to write into; on leaving, it is on disk and bears the name *out*.

    Whatever is raised inside, nothing of it stays. Raises ConflictError (``folder_exists``) when *out* is there and
    not empty, and StorageFullError when the disk or a quota has no room.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConflictError(
            f"{out} exists already and is not an empty folder", code="folder_exists", hint="choose another folder"
        )
    with reporting_full_disk(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            yield scratch
            for path in [*scratch.rglob("*"), scratch]:
                _sync(path)
            scratch.chmod(0o755)
            scratch.replace(out)
            _sync(out.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def reporting_full_disk(target: Path) -> Iterator[None]:
    """Turn the system's words for a full disk, a used-up quota or a too large file into StorageFullError."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise StorageFullError(
                f"no room to write {target}: {error.strerror}", hint="free space there, then try again"
            ) from error
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
