"""
Signed checkpoints: what a log vouches for, in the C2SP forms tlog-checkpoint and signed-note.

    hanlin.ledger/3f9a…/gateway                        origin
    1042                                               number of records
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=       root

    — hanlin.ledger/3f9a…/gateway Az3grlgtzPICa5OS8n…  Ed25519 signature over the three lines

Witnesses and monitors of the transparency-log world read them as they are.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hanlin.audit.tree import HASH_BYTES

ED25519 = b"\x01"
SIGNATURE_MARK = "— "
KEY_ID_BYTES = 4


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The size and the root of one log at one moment."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def signed(self, key: Ed25519PrivateKey) -> str:
        """Return the checkpoint as a note signed by *key* under the log's own name."""
        text = self.text()
        signature = _key_id(self.origin, key.public_key()) + key.sign(text.encode())
        return f"{text}\n{SIGNATURE_MARK}{self.origin} {base64.b64encode(signature).decode()}\n"

    @classmethod
    def verified(cls, note: str, origin: str, key: Ed25519PublicKey) -> Self:
        """
        Return the checkpoint in *note*; raises ValueError that says why it does not count.

        Signatures by others (witnesses) are passed over; the log's own must be there and right.
        """
        text, gap, signatures = note.rpartition("\n\n")
        if not gap or not signatures.endswith("\n"):
            raise ValueError("the checkpoint is not a signed note")
        checkpoint = cls._parsed(text + "\n")
        if checkpoint.origin != origin:
            raise ValueError(f"the checkpoint is of {checkpoint.origin!r}, not of {origin!r}")
        _check_signature(text + "\n", signatures, origin, key)
        return checkpoint

    @classmethod
    def _parsed(cls, text: str) -> Self:
        origin, size, root, *_ = [*text.split("\n"), "", ""]
        try:
            decoded = base64.b64decode(root, validate=True)
        except ValueError as error:
            raise ValueError("the checkpoint's root is not base64") from error
        if not size.isascii() or not size.isdigit() or str(int(size)) != size or len(decoded) != HASH_BYTES:
            raise ValueError("the checkpoint does not say a size and a root")
        return cls(origin, int(size), decoded)


def verifier_key(origin: str, key: Ed25519PublicKey) -> str:
    """Return *key* as C2SP tools take it: name, key id, algorithm and public key in one line."""
    encoded = base64.b64encode(ED25519 + key.public_bytes_raw()).decode()
    return f"{origin}+{_key_id(origin, key).hex()}+{encoded}"


def _key_id(name: str, key: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + key.public_bytes_raw()).digest()[:KEY_ID_BYTES]


def _check_signature(text: str, signatures: str, name: str, key: Ed25519PublicKey) -> None:
    wanted = _key_id(name, key)
    for line in signatures.splitlines():
        signer, _, encoded = line.removeprefix(SIGNATURE_MARK).partition(" ")
        signature = _decoded(encoded)
        if signer == name and signature[:KEY_ID_BYTES] == wanted:
            try:
                key.verify(signature[KEY_ID_BYTES:], text.encode())
            except InvalidSignature as error:
                raise ValueError("the checkpoint's signature is wrong") from error
            return
    raise ValueError("the checkpoint is not signed by this ledger's key")


def _decoded(encoded: str) -> bytes:
    """Return the signature, or nothing when this is not the one way to write it (unused bits set, say)."""
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except ValueError:
        return b""
    return decoded if base64.b64encode(decoded).decode() == encoded else b""
