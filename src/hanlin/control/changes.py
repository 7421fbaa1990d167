"""Management changes: applied and written into the ledger together, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from hanlin.audit import Entry, Receipt
from hanlin.domain import Caller, PlatformError
from hanlin.store import Store


class Recorder(Protocol):
    """What a change needs of a ledger."""

    def append_sync(self, entry: Entry) -> Receipt:
        """Return when *entry* is durable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """On whose behalf something is done, and through which request."""

    caller: Caller
    request_id: str
    ip: str = ""


class Changes:
    """Brackets every change of the management plane."""

    def __init__(self, store: Store, ledger: Recorder) -> None:
        self._store, self._ledger = store, ledger

    @contextmanager
    def record(self, context: Context, action: str, **details: Any) -> Iterator[dict[str, Any]]:
        """
        Run the block in one store transaction and append *action* with *details* to the ledger before it commits.

        The block may add to the details it is given. When the ledger cannot append, the transaction is undone; when
        the block raises, nothing is recorded here (the request's edge records refusals).
        """
        with self._store.transaction():
            yield details
            self._ledger.append_sync(_entry(context, action, details, status=200))

    def record_refusal(self, context: Context, action: str, error: PlatformError) -> None:
        """Write down that a change was asked for and refused."""
        self._ledger.append_sync(_entry(context, action, {"code": error.code}, status=error.status))


def _entry(context: Context, action: str, details: dict[str, Any], *, status: int) -> Entry:
    return Entry(
        kind="change",
        action=action,
        actor=context.caller.principal,
        workspace=context.caller.workspace,
        subject=context.caller.principal,
        request_id=context.request_id,
        at=datetime.now(UTC),
        ip=context.ip,
        status=status,
        details={name: value for name, value in details.items() if isinstance(value, str | int | bool | list)},
        request=msgspec.json.encode(details, order="deterministic"),
        result=b"",
    )
