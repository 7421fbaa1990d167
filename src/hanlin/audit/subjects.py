"""
One random key per subject, so that a person can be forgotten by destroying 32 bytes.

    row of 96 bytes:  key id 16 ‖ handle 16 ‖ nonce 12 ‖ AES-256-GCM(master, key) 48 ‖ crc 4

The handle is a keyed hash of the subject's name: the file says nothing about who is in it. The key id is random, so
that once the row is gone nothing in the log leads back to the person. The file lies among the secrets, not in the
ledger: copies of the ledger cannot undo an erasure.
"""

from __future__ import annotations

import hmac
import os
import struct
import threading
import zlib
from collections.abc import Iterator

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hanlin.audit.disk import Disk
from hanlin.audit.keys import KEY_BYTES, LedgerKeys
from hanlin.domain import ConflictError

KEY_ID_BYTES = 16
HANDLE_BYTES = 16
NONCE_BYTES = 12
ROW = struct.Struct(f"<{KEY_ID_BYTES}s{HANDLE_BYTES}s{NONCE_BYTES}s{KEY_BYTES + 16}sI")
REMEMBERED = 4096


class SubjectKey(msgspec.Struct, frozen=True):
    """A subject's key, ready for use."""

    id: bytes
    cipher: AESGCM


class Ring:
    """Reads the subject keys of one writer; rows are unwrapped when they are asked for."""

    def __init__(self, keys: LedgerKeys, writer: str) -> None:
        self._path = keys.subjects_path(writer)
        self._wrapping = AESGCM(keys.derive("wrap subject keys"))
        self._handles = keys.derive("name subjects")
        self._rows: dict[bytes, bytes] = {}
        self._ids: dict[bytes, list[bytes]] = {}
        self._rows_end = 0
        self._catch_up()

    def find(self, key_id: bytes) -> SubjectKey | None:
        """Return the key of that id, or None when it was erased; raises ConflictError under another master key."""
        if key_id not in self._rows:
            self._catch_up()  # its writer may have made it since
        row = self._rows.get(key_id)
        if row is None:
            return None
        _, handle, nonce, wrapped, _ = ROW.unpack(row)
        try:
            return SubjectKey(key_id, AESGCM(self._wrapping.decrypt(nonce, wrapped, key_id + handle)))
        except InvalidTag as error:
            raise ConflictError(
                f"the keys in {self._path.name} do not open with this master key",
                code="ledger_keys_unreadable",
                hint="restore the secrets that belong to this ledger",
            ) from error

    def ids_of(self, subject: str) -> list[bytes]:
        """Return the ids of all keys *subject* ever had here, oldest first."""
        return self._ids.get(self._handle(subject), [])

    def _catch_up(self) -> None:
        """Read the rows that were added to the file; behind the last whole one nothing depends on what is there."""
        if not self._path.exists() or self._path.stat().st_size < self._rows_end + ROW.size:
            return
        with self._path.open("rb") as file:
            file.seek(self._rows_end)
            data = file.read()
        whole = len(data) // ROW.size * ROW.size
        for row in _rows(data[:whole]):
            self._add(row)
        self._rows_end += whole

    def _handle(self, subject: str) -> bytes:
        return hmac.digest(self._handles, subject.encode(), "sha256")[:HANDLE_BYTES]

    def _add(self, row: bytes) -> None:
        key_id, handle, *_ = ROW.unpack(row)
        self._rows[key_id] = row
        self._ids.setdefault(handle, []).append(key_id)


class SubjectKeys(Ring):
    """The subject keys of a writer that is writing: makes keys for new subjects."""

    def __init__(self, keys: LedgerKeys, writer: str, disk: Disk) -> None:
        super().__init__(keys, writer)
        self._disk, self._lock = disk, threading.Lock()
        self._remembered: dict[str, SubjectKey] = {}
        self._pending: list[bytes] = []
        is_new = not self._path.exists()
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = disk.open(self._path, create=True)
        if is_new:
            disk.sync_folder(self._path.parent)
            disk.sync_folder(self._path.parent.parent)

    def key_for(self, subject: str) -> SubjectKey:
        """Return the key of *subject*, made when it has none; a new one counts once `flush` has returned."""
        with self._lock:
            key = self._remembered.get(subject)
            if key is None:
                key = self._latest(subject) or self._make(subject)
                if len(self._remembered) >= REMEMBERED:
                    self._remembered.clear()
                self._remembered[subject] = key
            return key

    def flush(self) -> None:
        """Return when every key handed out so far is on the device; raises OSError and can be called again."""
        with self._lock:
            pending = b"".join(self._pending)
        if not pending:
            return
        self._disk.write(self._file, pending, self._rows_end)
        self._disk.sync(self._file)
        with self._lock:
            del self._pending[: len(pending) // ROW.size]
        self._rows_end += len(pending)

    def close(self) -> None:
        """Give the file back."""
        self._disk.close(self._file)

    def _latest(self, subject: str) -> SubjectKey | None:
        ids = self.ids_of(subject)
        return self.find(ids[-1]) if ids else None

    def _make(self, subject: str) -> SubjectKey:
        key_id, nonce, secret = os.urandom(KEY_ID_BYTES), os.urandom(NONCE_BYTES), os.urandom(KEY_BYTES)
        handle = self._handle(subject)
        wrapped = self._wrapping.encrypt(nonce, secret, key_id + handle)
        body = key_id + handle + nonce + wrapped
        row = body + zlib.crc32(body).to_bytes(4, "little")
        self._add(row)
        self._pending.append(row)
        return SubjectKey(key_id, AESGCM(secret))


def _rows(data: bytes) -> Iterator[bytes]:
    """Yield the intact rows; a damaged one is passed over, its subject gets a new key."""
    for start in range(0, len(data), ROW.size):
        row = data[start : start + ROW.size]
        if zlib.crc32(row[:-4]).to_bytes(4, "little") == row[-4:]:
            yield row
