"""
Search across all logs of the ledger, page by page.

Order is that of the logs: within one log by index, never by clock; between logs by time, as far as clocks agree. A
cursor holds one position per log, so that pages neither repeat nor skip a record while others are being written.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from hanlin.audit.entry import Record
from hanlin.audit.keys import LedgerKeys
from hanlin.audit.matching import MatchingRecords
from hanlin.audit.query import Query
from hanlin.audit.reading import list_writers
from hanlin.domain import InvalidInputError


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Some records and, when there may be more, the cursor that continues after them."""

    records: Sequence[Record]
    next_cursor: str | None


def search(
    root: Path,
    query: Query,
    *,
    keys: LedgerKeys | None = None,
    reveal: bool = False,
    newest_first: bool = True,
    limit: int = 100,
    after: str | None = None,
) -> SearchPage:
    """
    Return up to *limit* records that match, from all logs below *root*, also while they are being written.

    Private fields are in the records only with *reveal*; that, and filters on them, need *keys*. A record may be
    shown a moment before it is acknowledged. Raises InvalidInputError for a cursor that is none of ours
    (``invalid_cursor``) or when keys are needed and not given, ConflictError (``ledger_corrupt``) at a record that
    cannot be read.
    """
    positions = _positions(after)
    streams = _streams(root, query, keys, reveal=reveal, newest_first=newest_first, positions=positions)
    records = list(islice(_merged(streams), limit))
    if all(stream.head is None for stream in streams):
        return SearchPage(records, None)
    return SearchPage(records, _cursor({stream.writer: stream.position for stream in streams}))


def iter_records(
    root: Path, query: Query, *, keys: LedgerKeys | None = None, reveal: bool = False, newest_first: bool = False
) -> Iterator[Record]:
    """Stream every record that matches, in constant memory; otherwise like `search`."""
    return _merged(_streams(root, query, keys, reveal=reveal, newest_first=newest_first))


class _Stream:
    """The matching records of one log: the next one at hand, and the position a cursor needs to find it again."""

    def __init__(self, writer: str, records: MatchingRecords, position: int | None, *, newest_first: bool) -> None:
        self.writer, self._newest_first = writer, newest_first
        self._taken = position or 0
        self._records = records.newest_first(position) if newest_first else records.oldest_first(position or 0)
        self.head = next(self._records, None)

    @property
    def position(self) -> int:
        """Newest first the index behind the next record, oldest first its own."""
        if self.head is None:
            return 0 if self._newest_first else self._taken
        return self.head.index + 1 if self._newest_first else self.head.index

    @property
    def rank(self) -> float:
        """What decides whose record comes next: the smallest rank."""
        at_s = 0.0 if self.head is None else self.head.at.timestamp()
        return -at_s if self._newest_first else at_s

    def advance(self) -> None:
        """Go on to the next record."""
        if self.head is not None:
            self._taken = self.head.index + 1
        self.head = next(self._records, None)


def _streams(
    root: Path,
    query: Query,
    keys: LedgerKeys | None,
    *,
    reveal: bool,
    newest_first: bool,
    positions: Mapping[str, int] | None = None,
) -> list[_Stream]:
    if keys is None and (reveal or query.is_private):
        raise InvalidInputError("private fields cannot be searched or shown without the ledger's keys")
    streams = []
    for writer in list_writers(root):
        # A log that began after the first page has nothing older to add, and everything newer.
        position = None if positions is None else positions.get(writer, 0)
        records = MatchingRecords(root / writer, query, keys, reveal=reveal)
        streams.append(_Stream(writer, records, position, newest_first=newest_first))
    return streams


def _merged(streams: Sequence[_Stream]) -> Iterator[Record]:
    while True:
        stream = min((stream for stream in streams if stream.head is not None), key=lambda s: s.rank, default=None)
        if stream is None or stream.head is None:
            return
        record = stream.head
        stream.advance()
        yield record


def _cursor(positions: Mapping[str, int]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(positions)).decode().rstrip("=")


def _positions(cursor: str | None) -> dict[str, int] | None:
    if cursor is None:
        return None
    try:
        encoded = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return msgspec.json.decode(encoded, type=dict[str, int])
    except (ValueError, msgspec.MsgspecError) as error:
        raise InvalidInputError(
            "the cursor is not one of ours",
            code="invalid_cursor",
            hint="pass next_cursor of the page before, unchanged",
        ) from error
