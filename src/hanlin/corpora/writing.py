"""Writing the rows of one split."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path
from types import TracebackType
from typing import Self

from hanlin.corpora.manifest import encode_row
from hanlin.corpora.rows import Row


class SplitFile:
    """
    One jsonl file under way; once left without an error it is there, and ``sha256`` says what is in it.

    *is_shuffled* puts the rows into the order of their keys: as good as random, yet the same every time. Rows go
    to a spool first, so that memory holds their places only.
    """

    def __init__(self, path: Path, *, is_shuffled: bool) -> None:
        self._path, self._is_shuffled = path, is_shuffled
        self._spool = path.with_suffix(".spool").open("w+b")
        self._places: list[tuple[bytes, int, int]] = []
        self._size = 0
        self.sha256 = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._spool.close()
            Path(self._spool.name).unlink()

    def write(self, row: Row, key: bytes) -> None:
        """Add *row*, whose text has this *key*."""
        line = encode_row(row)
        self._spool.write(line)
        self._places.append((key, self._size, self._size + len(line)))
        self._size += len(line)

    def _finish(self) -> None:
        self._spool.flush()
        digest = hashlib.sha256()
        with self._path.open("wb") as file:
            if self._size:
                with mmap.mmap(self._spool.fileno(), 0, access=mmap.ACCESS_READ) as spooled:
                    for _, start, end in sorted(self._places) if self._is_shuffled else self._places:
                        digest.update(spooled[start:end])
                        file.write(spooled[start:end])
        self.sha256 = digest.hexdigest()
