"""
Keys: random secrets that are shown once and kept as keyed hashes.

A key is ``hl_<id>_<secret>``: the id (8 characters) finds the row, the secret (256 bits) proves possession. What is
stored is HMAC-SHA-256 of the whole key under a server secret that is not in the store, so a copy of the store opens
nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import string
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hanlin.domain import ApiKey, Caller, KeyId, KeyKind, NotFoundError, Role, UnauthenticatedError

if TYPE_CHECKING:  # gateways import this package, and no database with it
    from hanlin.store import Store

ID_ALPHABET = string.ascii_lowercase + string.digits
ID_LENGTH = 8
SECRET_BYTES = 32


def load_secret(path: Path, size: int = SECRET_BYTES) -> bytes:
    """Return the secret kept at *path*, made on first use and readable by the owner only. Idempotent, race-free."""
    if path.exists():
        return path.read_bytes()
    descriptor, scratch = tempfile.mkstemp(dir=path.parent)  # mode 0600
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(size))
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):  # somebody else was first: theirs is the secret
        os.link(scratch, path)
    Path(scratch).unlink()
    return path.read_bytes()


def parse_key_id(key: str) -> KeyId:
    """Return the id inside *key*, or raise UnauthenticatedError when it is not shaped like a key."""
    parts = key.split("_", 2)
    if len(parts) != 3 or parts[0] != "hl" or len(parts[1]) != ID_LENGTH:
        raise UnauthenticatedError("the key is not shaped like a Hanlin key", hint="it looks like hl_<id>_<secret>")
    return KeyId(parts[1])


def hash_key(secret: bytes, key: str) -> str:
    """Return what is stored of *key*."""
    return hmac.new(secret, key.encode(), hashlib.sha256).hexdigest()


class Keys:
    """Issues, checks and revokes keys."""

    def __init__(self, store: Store, secret: bytes) -> None:
        self._store, self._secret = store, secret

    def issue(
        self,
        *,
        kind: KeyKind,
        name: str,
        principal: str,
        roles: Iterable[Role],
        by: str,
        now: datetime,
        lasts: timedelta | None = None,
        deployments: Iterable[str] = ("*",),
        requests_per_minute: int | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key and return it with its secret form, which cannot be had again."""
        key_id = "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))
        key = f"hl_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
        row = ApiKey(
            id=KeyId(key_id),
            kind=kind,
            name=name,
            principal=principal,
            roles=frozenset(roles),
            hash=hash_key(self._secret, key),
            created_at=now,
            created_by=by,
            deployments=tuple(deployments),
            expires_at=None if lasts is None else now + lasts,
            requests_per_minute=requests_per_minute,
        )
        return self._store.keys.add(row), key

    def check(self, key: str, now: datetime) -> ApiKey:
        """Return the row of *key*, or raise UnauthenticatedError; takes the same time for every wrong secret."""
        row = self._store.keys.find(parse_key_id(key))
        expected = row.hash if row is not None else "0" * 64
        is_same = hmac.compare_digest(expected, hash_key(self._secret, key))
        if row is None or not is_same:
            raise UnauthenticatedError("the key is not known", hint="ask an administrator for a new one")
        if not row.is_valid(now):
            state = "was revoked" if row.revoked_at else "has expired"
            raise UnauthenticatedError(f"key {row.id} {state}", hint="ask an administrator for a new one")
        return row

    def exchange(self, token: str, now: datetime, *, lasts: timedelta) -> tuple[ApiKey, str]:
        """Trade a one-time token for a session with the same principal and roles; the token is used up."""
        row = self.check(token, now)
        if row.kind is not KeyKind.ONE_TIME:
            raise UnauthenticatedError("this is not a one-time token", hint="`hanlin token` prints one")
        with self._store.transaction():
            self.revoke(row.id, now)
            return self.issue(
                kind=KeyKind.SESSION,
                name="session",
                principal=row.principal,
                roles=row.roles,
                by=row.principal,
                now=now,
                lasts=lasts,
            )

    def revoke(self, key_id: str, now: datetime) -> ApiKey:
        """End the key for good and return it. Idempotent; raises NotFoundError for an unknown id."""
        row = self._store.keys.find(key_id)
        if row is None:
            raise NotFoundError(f"there is no key {key_id!r}", code="key_not_found")
        if row.revoked_at is not None:
            return row
        return self._store.keys.replace(replace(row, revoked_at=now), was=row)


def caller_of(key: ApiKey) -> Caller:
    """Return who acts when *key* is presented."""
    return Caller(principal=key.principal, key_id=key.id, roles=key.roles, workspace=key.workspace)
