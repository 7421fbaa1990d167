"""The two secrets of the ledger: one signs checkpoints, the other wraps the subjects' keys."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hanlin.domain import ConflictError

SIGNING_KEY = "ledger_signing_key"
MASTER_KEY = "ledger_master_key"
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class LedgerKeys:
    """
    The ledger's keys, below one folder that is not the ledger's.

        secrets/ledger_signing_key      Ed25519 seed, 32 bytes, mode 0600
                ledger_master_key       32 bytes, mode 0600
                subjects/<writer>.keys  the subjects' keys, wrapped by the master key

    A copy of ``ledger/`` alone proves everything and reveals nobody.
    """

    folder: Path
    signing: Ed25519PrivateKey = field(repr=False)
    master: bytes = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the keys kept in *folder*, made on first use. Idempotent, and safe when processes race."""
        signing = Ed25519PrivateKey.from_private_bytes(_secret(folder / SIGNING_KEY))
        return cls(folder, signing, _secret(folder / MASTER_KEY))

    @property
    def public(self) -> Ed25519PublicKey:
        """The key that checkpoints are verified with."""
        return self.signing.public_key()

    @property
    def ledger_id(self) -> str:
        """A short name of this ledger, the same for as long as its signing key lives."""
        return hashlib.sha256(self.public.public_bytes_raw()).hexdigest()[:12]

    def origin(self, writer: str) -> str:
        """Return the origin line of *writer*'s checkpoints: a name no other log in the world has."""
        return f"hanlin.ledger/{self.ledger_id}/{writer}"

    def subjects_path(self, writer: str) -> Path:
        """Return where the subject keys of *writer* are kept."""
        return self.folder / "subjects" / f"{writer}.keys"

    def derive(self, purpose: str) -> bytes:
        """Return the key for one purpose, so that no two uses of the master key can meet."""
        return hmac.digest(self.master, f"hanlin ledger: {purpose}".encode(), "sha256")


def _secret(path: Path) -> bytes:
    if not path.exists():
        _make(path)
    secret = path.read_bytes()
    if len(secret) != KEY_BYTES:
        raise ConflictError(
            f"{path.name} holds {len(secret)} bytes, a key has {KEY_BYTES}",
            code="ledger_keys_unreadable",
            hint="restore it from a backup of the secrets",
        )
    return secret


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, scratch = tempfile.mkstemp(dir=path.parent)  # mode 0600
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):  # another process was first: its secret counts
        os.link(scratch, path)
    Path(scratch).unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)
