"""
The few file operations durability rests on, in one place, so that tests can make each of them fail.

A write is promised to nobody until `sync` has returned; a new or renamed file until `sync_folder` has.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

OWNER_ONLY = 0o600
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Disk:
    """The operating system's files. Every method raises OSError and leaves cleaning up to the caller."""

    def open(self, path: Path, *, create: bool = False) -> int:
        """Open *path* for reading and writing and return its descriptor."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), OWNER_ONLY)

    def write(self, file: int, data: bytes, offset: int) -> None:
        """Write all of *data* at *offset*; nothing is durable yet."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(file, rest, offset)
            rest, offset = rest[written:], offset + written

    def sync(self, file: int) -> None:
        """Return when everything written to *file* is on the device."""
        os.fdatasync(file)

    def truncate(self, file: int, size: int) -> None:
        """Cut or extend *file* to *size* bytes."""
        os.ftruncate(file, size)

    def reserve(self, file: int, offset: int, size: int) -> None:
        """Raise OSError unless there is room for *size* more bytes at *offset*; the file may be longer afterwards."""
        os.posix_fallocate(file, offset, size)

    def forget(self, file: int) -> None:
        """Let the page cache drop *file*, so that the next read shows what the device holds."""
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)

    def replace(self, source: Path, target: Path) -> None:
        """Let *source* take the place of *target* in one step."""
        source.replace(target)

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in *folder* are on the device."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self, file: int) -> None:
        """Give the descriptor back."""
        os.close(file)

    def publish(self, path: Path, data: bytes) -> None:
        """Make *path* hold exactly *data*: the old content or the new survives any crash, never a mixture."""
        scratch = path.with_name(path.name + ".new")
        file = self.open(scratch, create=True)
        try:
            self.truncate(file, 0)
            self.write(file, data, 0)
            self.sync(file)
        finally:
            self.close(file)
        self.replace(scratch, path)
        self.sync_folder(path.parent)
