"""
Search across all logs of the ledger.

Order is that of the logs: within one log by index, never by clock; between logs by time, as far as clocks agree. A
cursor holds one position per log, so that pages neither repeat nor skip a record while others are being written.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from hanlin.audit.encoding import EPOCH, MICROSECOND, Leaf, Private, key_id_of, parse_leaf, unseal
from hanlin.audit.entry import Record
from hanlin.audit.frames import Frame
from hanlin.audit.keys import LedgerKeys
from hanlin.audit.reading import iter_newest_first, iter_oldest_first, list_writers
from hanlin.audit.subjects import Ring
from hanlin.audit.tree import hash_leaf
from hanlin.domain import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """
    What to look for; a filter that is None lets everything pass.

    *subject*, *ip* and *text* look into the private part and find only what is not erased. *text* is looked for in
    the request, the result and the details, whatever its case. *label* also finds records whose ``labels`` hold it.
    """

    since: datetime | None = None
    until: datetime | None = None
    workspace: str | None = None
    kind: str | None = None
    action: str | None = None
    actor: str | None = None
    subject: str | None = None
    ip: str | None = None
    model: str | None = None
    version: int | None = None
    deployment: str | None = None
    label: str | None = None
    status: int | None = None
    min_latency_us: int | None = None
    request_id: str | None = None
    text: str | None = None

    @property
    def is_private(self) -> bool:
        """Whether the private part has to be opened to answer."""
        return self.subject is not None or self.ip is not None or self.text is not None


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
    (``invalid_cursor``) or when keys are needed and not given.
    """
    if keys is None and (reveal or query.is_private):
        raise InvalidInputError("private fields cannot be searched or shown without the ledger's keys")
    positions = _positions(after)
    streams = {
        writer: _Stream(_Reader(root, writer, query, keys if reveal or query.is_private else None, reveal=reveal))
        for writer in list_writers(root)
    }
    for writer, stream in streams.items():
        # A log that began after the first page has nothing older to add, and everything newer.
        stream.open(positions.get(writer, 0) if after is not None else None, newest_first=newest_first)
    records = _merge(streams, limit, newest_first=newest_first)
    if all(stream.head is None for stream in streams.values()):
        return SearchPage(records, None)
    return SearchPage(records, _cursor({writer: stream.position for writer, stream in streams.items()}))


def iter_records(
    root: Path, query: Query, *, keys: LedgerKeys | None = None, reveal: bool = False, newest_first: bool = False
) -> Iterator[Record]:
    """Stream every record that matches, in pages behind the scenes; otherwise like `search`."""
    after = None
    while True:
        page = search(root, query, keys=keys, reveal=reveal, newest_first=newest_first, limit=1000, after=after)
        yield from page.records
        if page.next_cursor is None:
            return
        after = page.next_cursor


def _merge(streams: Mapping[str, _Stream], limit: int, *, newest_first: bool) -> list[Record]:
    records: list[Record] = []
    while len(records) < limit:
        heads = [(stream.head.at, writer) for writer, stream in streams.items() if stream.head is not None]
        if not heads:
            break
        _, writer = max(heads) if newest_first else min(heads)
        records.append(streams[writer].take())
    return records


class _Stream:
    """The matching records of one log, with the next one at hand and the position a cursor needs to find it again."""

    def __init__(self, reader: _Reader) -> None:
        self._reader, self._newest_first = reader, True
        self._records: Iterator[Record] = iter(())
        self.head: Record | None = None
        self._seen = 0

    def open(self, position: int | None, *, newest_first: bool) -> None:
        self._newest_first = newest_first
        self._seen = position or 0
        self._records = self._reader.newest(position) if newest_first else self._reader.oldest(position or 0)
        self.head = next(self._records, None)

    @property
    def position(self) -> int:
        if self.head is None:
            return 0 if self._newest_first else self._seen
        return self.head.index + 1 if self._newest_first else self.head.index

    def take(self) -> Record:
        record = self.head
        if record is None:
            raise StopIteration
        self._seen = record.index + 1
        self.head = next(self._records, None)
        return record


class _Reader:
    """Reads one log, decides what matches and makes records of it."""

    def __init__(self, root: Path, writer: str, query: Query, keys: LedgerKeys | None, *, reveal: bool) -> None:
        self._folder, self._query, self._reveal = root / writer, query, reveal
        self._ring = None if keys is None else Ring(keys, writer)
        self._since_us = _microseconds(query.since)
        self._until_us = _microseconds(query.until)
        self._text = None if query.text is None else query.text.casefold()
        is_by_subject = query.subject is not None and self._ring is not None
        self._subject_keys = set(self._ring.ids_of(query.subject)) if is_by_subject else None  # type: ignore[union-attr, arg-type]
        self._equal = {
            name: wanted
            for name in ("workspace", "kind", "action", "actor", "status", "request_id")
            if (wanted := getattr(query, name)) is not None
        }

    def newest(self, end: int | None) -> Iterator[Record]:
        return self._matching(iter_newest_first(self._folder, end, self._until_us))

    def oldest(self, start: int) -> Iterator[Record]:
        return self._matching(iter_oldest_first(self._folder, start, self._since_us))

    def _matching(self, frames: Iterator[Frame]) -> Iterator[Record]:
        for frame in frames:
            if self._subject_keys is not None and key_id_of(frame.private) not in self._subject_keys:
                continue
            leaf = parse_leaf(frame.leaf)
            if not self._is_match(leaf):
                continue
            private = self._open(frame)
            if not self._query.is_private or (private is not None and self._is_private_match(leaf, private)):
                yield _record(frame, leaf, private if self._reveal else None)

    def _open(self, frame: Frame) -> Private | None:
        key = None if self._ring is None else self._ring.find(key_id_of(frame.private))
        return None if key is None else unseal(frame.private, key)

    def _is_match(self, leaf: Leaf) -> bool:
        query, details = self._query, leaf.details
        return (
            (self._since_us is None or leaf.at_us >= self._since_us)
            and (self._until_us is None or leaf.at_us < self._until_us)
            and (query.min_latency_us is None or leaf.latency_us >= query.min_latency_us)
            and all(getattr(leaf, name) == wanted for name, wanted in self._equal.items())
            and (query.model is None or details.get("model") == query.model)
            and (query.version is None or details.get("version") == query.version)
            and (query.deployment is None or details.get("deployment") == query.deployment)
            and (query.label is None or _has_label(details, query.label))
        )

    def _is_private_match(self, leaf: Leaf, private: Private) -> bool:
        query = self._query
        return (
            (query.subject is None or private.subject == query.subject)
            and (query.ip is None or private.ip == query.ip)
            and (self._text is None or any(self._text in text for text in _texts(leaf, private)))
        )


def _record(frame: Frame, leaf: Leaf, private: Private | None) -> Record:
    return Record(
        writer=leaf.writer,
        index=frame.index,
        at=leaf.at,
        kind=leaf.kind,
        action=leaf.action,
        actor=leaf.actor,
        workspace=leaf.workspace,
        request_id=leaf.request_id,
        status=leaf.status,
        latency_us=leaf.latency_us,
        queue_us=leaf.queue_us,
        compute_us=leaf.compute_us,
        details=leaf.details,
        leaf_hash=hash_leaf(frame.leaf).hex(),
        subject=None if private is None else private.subject,
        ip=None if private is None else private.ip,
        request=None if private is None else private.request,
        result=None if private is None else private.result,
    )


def _has_label(details: Mapping[str, object], label: str) -> bool:
    labels = details.get("labels")
    return details.get("label") == label or (isinstance(labels, list) and label in labels)


def _texts(leaf: Leaf, private: Private) -> Iterator[str]:
    yield _readable(private.request).casefold()
    yield _readable(private.result).casefold()
    yield msgspec.json.encode(leaf.details).decode().casefold()


def _readable(payload: bytes) -> str:
    r"""Return *payload* as people read it: many clients send Chinese as ``\uXXXX``."""
    if b"\\u" in payload:
        try:
            return msgspec.json.encode(msgspec.json.decode(payload)).decode()
        except msgspec.DecodeError:
            pass
    return payload.decode("utf-8", "replace")


def _microseconds(instant: datetime | None) -> int | None:
    if instant is None:
        return None
    if instant.tzinfo is None:
        raise InvalidInputError(f"{instant.isoformat()} has no time zone", hint="write it as 2026-01-31T08:00:00+08:00")
    return (instant - EPOCH) // MICROSECOND


def _cursor(positions: Mapping[str, int]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(positions)).decode().rstrip("=")


def _positions(cursor: str | None) -> dict[str, int]:
    if cursor is None:
        return {}
    try:
        encoded = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return msgspec.json.decode(encoded, type=dict[str, int])
    except (ValueError, msgspec.MsgspecError) as error:
        raise InvalidInputError(
            "the cursor is not one of ours",
            code="invalid_cursor",
            hint="pass next_cursor of the page before, unchanged",
        ) from error
