"""Reading single members of wheels and sdists: by exact name, bounded, and never by unpacking."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import IO

from hanlin.corpora.folders import reporting_full_disk
from hanlin.domain import InvalidInputError, NotFoundError, TooLargeError

CHUNK_BYTES = 1 << 20
MOST_ENTRIES = 100_000
MOST_BYTES = 8 << 30


def list_members(archive: Path) -> dict[str, int]:
    """Return the plain files of a wheel, zip or tar archive with their stated sizes; links and devices are left out."""
    with _reading(archive):
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                _check_entries(archive, len(opened.filelist))
                return {info.filename: info.file_size for info in opened.filelist if not info.is_dir()}
        found: dict[str, int] = {}
        with tarfile.open(archive) as tar:
            for count, entry in enumerate(tar, 1):
                _check_entries(archive, count)
                if entry.isreg():
                    found[entry.name] = entry.size
        return found


def read_member(archive: Path, member: str, *, limit_bytes: int) -> bytes:
    """Return the content of one member, or raise TooLargeError past *limit_bytes*."""
    with _opened(archive, member) as stream:
        return b"".join(_bounded(stream, archive, member, limit_bytes))


def copy_member(archive: Path, member: str, target: Path, *, limit_bytes: int = MOST_BYTES) -> None:
    """Write one member to *target* (a path of the caller's; names inside archives never become paths)."""
    with reporting_full_disk(target), _opened(archive, member) as stream, target.open("wb") as file:
        for chunk in _bounded(stream, archive, member, limit_bytes):
            file.write(chunk)


def stated_licence(archive: Path) -> str:
    """Return the licence as the package's metadata states it, empty if it states none."""
    names = [name for name in list_members(archive) if _is_metadata(name)]
    if not names:
        return ""
    fields = message_from_bytes(read_member(archive, min(names, key=len), limit_bytes=4 << 20))
    classifiers = [str(value) for value in fields.get_all("Classifier", []) if str(value).startswith("License ::")]
    stated = [str(fields.get(name, "")).strip().split("\n")[0] for name in ("License-Expression", "License")]
    found = [text for text in [*stated, *(c.rpartition(" :: ")[2] for c in classifiers)] if text not in {"", "UNKNOWN"}]
    return found[0] if found else ""


def _is_metadata(name: str) -> bool:
    folder, _, last = name.rpartition("/")
    return (last == "METADATA" and folder.endswith(".dist-info")) or (last == "PKG-INFO" and "/" not in folder)


@contextmanager
def _opened(archive: Path, member: str) -> Iterator[IO[bytes]]:
    with _reading(archive):
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                if member not in opened.NameToInfo or member.endswith("/"):
                    raise _missing(archive, member)
                with opened.open(member) as stream:
                    yield stream
            return
        with tarfile.open(archive) as tar:
            for count, entry in enumerate(tar, 1):
                _check_entries(archive, count)
                if entry.name == member and entry.isreg() and (content := tar.extractfile(entry)) is not None:
                    yield content
                    return
    raise _missing(archive, member)


def _bounded(stream: IO[bytes], archive: Path, member: str, limit_bytes: int) -> Iterator[bytes]:
    done = 0
    while chunk := stream.read(CHUNK_BYTES):
        done += len(chunk)
        if done > limit_bytes:
            raise TooLargeError(
                f"{member} in {archive.name} is larger than {limit_bytes:,} bytes", code="archive_member_too_large"
            )
        yield chunk


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise InvalidInputError(f"{archive.name} cannot be read: {error}", code="archive_corrupt") from error


def _check_entries(archive: Path, count: int) -> None:
    if count > MOST_ENTRIES:
        raise TooLargeError(f"{archive.name} has more than {MOST_ENTRIES:,} entries", code="archive_too_many_entries")


def _missing(archive: Path, member: str) -> NotFoundError:
    return NotFoundError(f"{archive.name} holds no file {member}", code="archive_member_missing")
