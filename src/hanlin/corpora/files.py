"""Reading bytes: plain or gzip, in chunks, with a bound on what a small file may unfold to."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hanlin.domain import InvalidInputError, NotFoundError, Reporter, TooLargeError

CHUNK_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
MOST_UNFOLDED = 200  # text shrinks 3 to 20 times; a gzip bomb 1,000 times
ALWAYS_UNFOLDED_BYTES = 64 << 20

OnRead = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigest:
    """What a source file was when it was read."""

    name: str
    size_bytes: int
    sha256: str


class ByteMeter:
    """Turns bytes that were read into progress, at most about a hundred reports in all."""

    def __init__(self, reporter: Reporter, total_bytes: int) -> None:
        self._reporter, self._total = reporter, max(total_bytes, 1)
        self._done = self._reported = 0

    def __call__(self, read_bytes: int) -> None:
        """Count *read_bytes* more."""
        self._done += read_bytes
        if self._done - self._reported >= self._total / 100 or self._done == self._total:
            self._reported = self._done
            self._reporter.progress(self._done, self._total, "byte", "reading")


def check_file(path: Path) -> None:
    """Raise unless *path* is a plain file that is there: ``corpus_file_missing`` or ``corpus_file_unreadable``."""
    if not path.exists():
        raise NotFoundError(
            f"there is no file {path}", code="corpus_file_missing", hint="check the path, and that the file is there"
        )
    if not path.is_file():
        raise InvalidInputError(
            f"{path} is not a plain file", code="corpus_file_unreadable", hint="name one txt, csv or jsonl file"
        )


def file_digest(path: Path) -> FileDigest:
    """Return name, size and SHA-256 of the file as it lies there (compressed, if it is)."""
    digest, size = hashlib.sha256(), 0
    with _opened(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileDigest(name=path.name, size_bytes=size, sha256=digest.hexdigest())


def iter_chunks(path: Path, on_read: OnRead | None = None) -> Iterator[bytes]:
    """
    Yield the content of *path* in chunks, unfolded when it is gzip (told by its first bytes, not its name).

    *on_read* hears how many bytes of the file itself went by. Raises ``corpus_file_corrupt`` for a damaged
    gzip file and ``corpus_too_large`` for one that unfolds to more than 200 times its size (and 64 MiB).
    """
    size = path.stat().st_size
    limit = max(ALWAYS_UNFOLDED_BYTES, size * MOST_UNFOLDED)
    unfolded = position = 0
    with _opened(path) as raw:
        is_gzip = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if is_gzip else raw  # type: ignore[assignment]
        while chunk := _read(stream, path):
            unfolded += len(chunk)
            if is_gzip and unfolded > limit:
                raise TooLargeError(
                    f"{path.name} unfolds from {size:,} bytes to more than {limit:,}",
                    code="corpus_too_large",
                    hint="import it uncompressed if that is what it is",
                )
            yield chunk
            if on_read:
                on_read(raw.tell() - position)
                position = raw.tell()


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except PermissionError as error:
        raise InvalidInputError(
            f"{path} may not be read", code="corpus_file_unreadable", hint="give this user the right to read it"
        ) from error


def _read(stream: IO[bytes], path: Path) -> bytes:
    try:
        return stream.read(CHUNK_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidInputError(
            f"{path.name} is gzip but damaged: {error}", code="corpus_file_corrupt", hint="copy or compress it again"
        ) from error
