"""
The ledger as a writing process sees it: `append` an entry, and it is on the device when the call returns.

      append ─┐                       ┌──────────── writer thread ────────────┐
      append ─┼─► waiting (bounded) ─►│ take all ─► write ─► fdatasync ─► tell │──► one wake-up per event loop
      append ─┘                       └───▲──────────────────────────────┘
                                          └── what arrives meanwhile is the next group

There is no timer: a lone record is synced at once, and under load groups are as large as one sync is long.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hanlin.audit.disk import Disk
from hanlin.audit.entry import Entry, Receipt
from hanlin.audit.faults import refusal
from hanlin.audit.keys import LedgerKeys
from hanlin.audit.log import Log
from hanlin.audit.waiting import Outcome, Waiter, tell
from hanlin.domain import LedgerUnavailableError, PlatformError

SEGMENT_BYTES = 32 << 20
MAX_WAITING = 8192
MAX_WAITING_BYTES = 64 << 20
LARGEST_GROUP = 2048

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Commit:
    """One group that became durable: how long each of its records waited, and how large the log is now."""

    size: int
    waited_s: Sequence[float]
    written_bytes: int


class Ledger:
    """
    One writer's log, open for appending from event loops and threads alike.

    Close it, or use it as a context manager; a process that just dies loses nothing that was acknowledged.
    """

    def __init__(
        self,
        log: Log,
        *,
        checkpoint_every_s: float,
        retry_every_s: float,
        max_waiting: int,
        on_commit: Callable[[Commit], None] | None,
    ) -> None:
        self._log, self._on_commit = log, on_commit
        self._checkpoint_every_s, self._retry_every_s = checkpoint_every_s, retry_every_s
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._waiting: list[Waiter] = []
        self._waiting_bytes = 0
        self._is_closing = False
        self._failure: OSError | str | None = None
        self._failed_at = 0.0
        self._refused = 0
        self._signed_at = time.monotonic()
        self._head = (log.size, log.root.hex())
        self._thread = threading.Thread(target=self._run, name=f"ledger-{log.writer}", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        root: Path,
        writer: str,
        *,
        keys: LedgerKeys,
        disk: Disk | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        checkpoint_every_s: float = 1.0,
        retry_every_s: float = 0.5,
        max_waiting: int = MAX_WAITING,
        on_commit: Callable[[Commit], None] | None = None,
    ) -> Self:
        """
        Open (or begin) the log of *writer* in ``root/writer`` and lock it for this process.

        Recovers from any crash in less than two seconds: only the last segment is read. *on_commit* is called in the
        writer's thread after every group and must be quick. Raises ConflictError: ``ledger_locked`` while another
        process writes this log, ``ledger_corrupt`` when what is there is not what was acknowledged or signed.
        """
        log = Log.open(root, writer, keys=keys, disk=disk or Disk(), segment_bytes=segment_bytes)
        return cls(
            log,
            checkpoint_every_s=checkpoint_every_s,
            retry_every_s=retry_every_s,
            max_waiting=max_waiting,
            on_commit=on_commit,
        )

    @property
    def writer(self) -> str:
        """The name of the log."""
        return self._log.writer

    @property
    def size(self) -> int:
        """How many records are durable."""
        return self._head[0]

    @property
    def root(self) -> str:
        """The root of the tree over the durable records, hexadecimal."""
        return self._head[1]

    @property
    def head(self) -> tuple[int, str]:
        """Size and root, of the same moment."""
        return self._head

    @property
    def is_failed(self) -> bool:
        """Whether records are being refused at the moment; it ends by itself when the disk works again."""
        return self._failure is not None

    async def append(self, entry: Entry) -> Receipt:
        """
        Record *entry*; it is durable when this returns.

        A caller that is cancelled meanwhile does not stop the record. Raises LedgerUnavailableError or, for want of
        room, StorageFullError: then it was not acknowledged to anyone and is not in the log.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Receipt] = loop.create_future()
        self._submit(Waiter(self._log.seal(entry), future, loop))
        return await future

    def append_sync(self, entry: Entry) -> Receipt:
        """Record *entry* from a thread without an event loop; otherwise like `append`."""
        future: Future[Receipt] = Future()
        self._submit(Waiter(self._log.seal(entry), future))
        return future.result()

    def close(self) -> None:
        """Write what waits, sign a last checkpoint and let go of the log. Idempotent."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # In the caller's thread

    def _submit(self, waiter: Waiter) -> None:
        with self._changed:
            if self._is_closing:
                raise refusal(self.writer, "it is closed")
            if self._failure is not None:
                self._refused += 1
                raise refusal(self.writer, self._failure)
            if len(self._waiting) >= self._max_waiting or self._waiting_bytes >= MAX_WAITING_BYTES:
                raise LedgerUnavailableError(
                    f"{len(self._waiting)} records wait for log {self.writer!r} already",
                    code="ledger_busy",
                    hint="the disk is slower than what is recorded; send less or retry",
                    retry_after_s=1.0,
                )
            self._waiting.append(waiter)
            self._waiting_bytes += len(waiter.sealed.private)
            self._changed.notify()

    # In the writer's thread

    def _run(self) -> None:
        try:
            while not self._is_drained():
                group = self._take()
                if group:
                    self._commit(group)
                self._upkeep()
            self._sign()
        finally:  # whatever ends this thread, nobody waits for it for ever
            with self._changed:
                self._is_closing = True
                left, self._waiting = self._waiting, []
            tell(left, [refusal(self.writer, "it is closed") for _ in left])
            self._log.close()

    def _is_drained(self) -> bool:
        with self._changed:
            return self._is_closing and not self._waiting

    def _take(self) -> list[Waiter]:
        """Return what waits, up to a bound; waits for it unless there is upkeep to do."""
        with self._changed:
            while not self._waiting and not self._is_closing:
                if not self._changed.wait(self._pause_s()):
                    break
            group, self._waiting = self._waiting[:LARGEST_GROUP], self._waiting[LARGEST_GROUP:]
            self._waiting_bytes -= sum(len(waiter.sealed.private) for waiter in group)
            return group

    def _pause_s(self) -> float | None:
        """How long nothing has to be done if no record comes: for ever, when all is signed and well."""
        if self._failure is not None:
            return self._retry_every_s
        if self._log.has_unsigned:
            return max(0.0, self._signed_at + self._checkpoint_every_s - time.monotonic())
        return None

    def _commit(self, group: list[Waiter]) -> None:
        receipts: Sequence[Outcome] = []
        try:
            receipts = self._log.append([waiter.sealed for waiter in group])
            self._head = (self._log.size, self._log.root.hex())
        except OSError as error:
            self._fail(error, refused=len(group))
            receipts = [refusal(self.writer, error) for _ in group]
        finally:
            tell(group, receipts or [refusal(self.writer, "its writer stopped") for _ in group])
        if self._failure is None and self._on_commit is not None:
            now = time.perf_counter()
            written = sum(len(waiter.sealed.private) for waiter in group)
            self._on_commit(Commit(self.size, [now - waiter.since for waiter in group], written))

    def _upkeep(self) -> None:
        if self._failure is not None:
            self._try_again()
        elif self._log.has_unsigned and time.monotonic() >= self._signed_at + self._checkpoint_every_s:
            self._sign()

    def _sign(self) -> None:
        """Sign when there is something to sign; a checkpoint may lag behind, so that a failing disk delays it only."""
        if self._failure is None and self._log.has_unsigned:
            try:
                self._log.sign()
            except OSError as error:
                self._fail(error)
        self._signed_at = time.monotonic()

    def _fail(self, error: OSError, *, refused: int = 0) -> None:
        """Stop acknowledging, and refuse what waits already."""
        logger.error("ledger.stopped", extra={"writer": self.writer, "error": str(error), "size": self._log.size})
        with self._changed:
            self._failure, self._failed_at = error, time.monotonic()
            left, self._waiting, self._waiting_bytes = self._waiting, [], 0
            self._refused += refused + len(left)
        tell(left, [refusal(self.writer, error) for _ in left])

    def _try_again(self) -> None:
        """Repair, and prove that the disk takes records again by one that tells of the gap."""
        failure = self._failure
        if not isinstance(failure, OSError):
            return
        try:
            self._log.repair(failure)
            self._log.append([self._log.seal(self._gap(failure))])
        except OSError as error:
            self._failure = error
        except PlatformError as error:  # acknowledged records are gone: nothing is acknowledged until people looked
            logger.critical("ledger.lost", extra={"writer": self.writer, "error": str(error)})
            self._failure = error.message
        else:
            self._head = (self._log.size, self._log.root.hex())
            with self._changed:
                self._failure, self._refused = None, 0
            logger.info("ledger.resumed", extra={"writer": self.writer, "size": self._log.size})

    def _gap(self, failure: OSError) -> Entry:
        stopped_ms = int((time.monotonic() - self._failed_at) * 1000)
        details: dict[str, str | int] = {
            "cause": failure.strerror or str(failure),
            "refused": self._refused,
            "stopped_ms": stopped_ms,
        }
        return Entry(kind="ledger", action="ledger.resumed", actor="ledger", details=details)
