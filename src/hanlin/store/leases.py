"""Leases: who may work on something until when."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Connection, delete, insert, select, update

from hanlin.store.tables import leases


class Leases:
    """Named leases with a holder and an expiry; the clock of the store's machine decides."""

    def __init__(
        self, connect: Callable[[], AbstractContextManager[Connection]], clock: Callable[[], float] = time.time
    ) -> None:
        self._connect, self._clock = connect, clock

    def acquire(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take or renew the lease for *ttl_s* seconds; False when another holder's has not expired."""
        now = self._clock()
        with self._connect() as connection:
            row = connection.execute(select(leases).where(leases.c.name == name)).one_or_none()
            if row is None:
                connection.execute(insert(leases).values(name=name, holder=holder, expires_at=now + ttl_s))
                return True
            if row.holder != holder and row.expires_at > now:
                return False
            connection.execute(
                update(leases).where(leases.c.name == name).values(holder=holder, expires_at=now + ttl_s)
            )
            return True

    def release(self, name: str, holder: str) -> None:
        """Give the lease back if *holder* has it. Idempotent."""
        with self._connect() as connection:
            connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))

    def holder_of(self, name: str) -> str | None:
        """Return who holds the lease now, or None."""
        with self._connect() as connection:
            row = connection.execute(select(leases).where(leases.c.name == name)).one_or_none()
        return None if row is None or row.expires_at <= self._clock() else row.holder
