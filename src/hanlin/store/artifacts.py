"""
Artifacts: immutable folders, named by what is in them.

    artifacts/<sha256 of manifest.json>/manifest.json   {"files": [{"path", "size_bytes", "sha256"}]}
                                        …the files
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from hanlin.domain import ConflictError, Digest, InvalidInputError, NotFoundError, StorageFullError

MANIFEST = "manifest.json"
CHUNK_BYTES = 1 << 20


class ArtifactFile(msgspec.Struct, frozen=True):
    """One file of an artifact: its path inside, size and SHA-256."""

    path: str
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """All files of an artifact, ordered by path."""

    files: list[ArtifactFile]


class ArtifactStore:
    """Keeps folders by digest; what is in can be read and verified, never changed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, folder: Path) -> Digest:
        """
        Copy *folder* in and return its digest; it appears whole or not at all. Idempotent.

        Raises InvalidInputError for links and special files, StorageFullError when there is no room.
        """
        manifest = Manifest([_described(folder, path) for path in _files(folder)])
        encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        name = hashlib.sha256(encoded).hexdigest()
        if not (self._root / name).exists():
            self._copy(folder, manifest, encoded, self._root / name)
        return Digest(f"sha256:{name}")

    def path(self, digest: Digest) -> Path:
        """Return the folder of *digest*, or raise NotFoundError."""
        kind, _, name = digest.partition(":")
        if kind == "sha256" and len(name) == 64 and name.isalnum() and (self._root / name).is_dir():
            return self._root / name
        raise NotFoundError(f"there is no artifact {digest}", code="artifact_not_found")

    def manifest(self, digest: Digest) -> Manifest:
        """Return the list of files of *digest*."""
        return msgspec.json.decode((self.path(digest) / MANIFEST).read_bytes(), type=Manifest)

    def verify(self, digest: Digest) -> None:
        """Read every file again; raise ConflictError (``artifact_corrupt``) that names the first one that differs."""
        folder = self.path(digest)
        encoded = (folder / MANIFEST).read_bytes()
        if hashlib.sha256(encoded).hexdigest() != digest.removeprefix("sha256:"):
            raise _corrupt(digest, MANIFEST)
        for file in msgspec.json.decode(encoded, type=Manifest).files:
            path = folder / file.path
            if not path.is_file() or _sha256(path) != file.sha256:
                raise _corrupt(digest, file.path)

    def _copy(self, folder: Path, manifest: Manifest, encoded: bytes, target: Path) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".incoming-", dir=self._root))
        try:
            for file in manifest.files:
                (scratch / file.path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / file.path, scratch / file.path)
                _sync(scratch / file.path)
            (scratch / MANIFEST).write_bytes(encoded)
            _sync(scratch / MANIFEST)
            _sync(scratch)
            if not target.exists():
                scratch.rename(target)
                _sync(self._root)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                size = sum(file.size_bytes for file in manifest.files)
                raise StorageFullError(
                    f"no room for an artifact of {size:,} bytes in {self._root}", hint="free space, then try again"
                ) from error
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise InvalidInputError(f"{path.name} is a link or no plain file", code="artifact_unsafe_file")
        if path.is_file() and path != folder / MANIFEST:
            yield path


def _described(folder: Path, path: Path) -> ArtifactFile:
    return ArtifactFile(path.relative_to(folder).as_posix(), path.stat().st_size, _sha256(path))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _corrupt(digest: Digest, name: str) -> ConflictError:
    return ConflictError(
        f"{name} of artifact {digest} is not what was stored",
        code="artifact_corrupt",
        hint="restore it from a backup, or make the version again",
    )
