"""Which records match a query, and what of them may be shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from hanlin.audit.encoding import EPOCH, MICROSECOND, Leaf, Private, key_id_of, parse_leaf, unseal
from hanlin.audit.entry import Record
from hanlin.audit.faults import DamageError, corrupt
from hanlin.audit.frames import Frame
from hanlin.audit.keys import LedgerKeys
from hanlin.audit.query import Query
from hanlin.audit.reading import iter_newest_first, iter_oldest_first
from hanlin.audit.subjects import Ring
from hanlin.audit.tree import hash_leaf
from hanlin.domain import InvalidInputError


class MatchingRecords:
    """The records of one log that match a query, in either direction."""

    def __init__(self, folder: Path, query: Query, keys: LedgerKeys | None, *, reveal: bool) -> None:
        self._folder, self._query, self._reveal = folder, query, reveal
        self._ring = Ring(keys, folder.name) if keys is not None and (reveal or query.is_private) else None
        self._since_us, self._until_us = _microseconds(query.since), _microseconds(query.until)
        self._text = None if query.text is None else query.text.casefold()
        self._key_ids = None
        if query.subject is not None and self._ring is not None:
            self._key_ids = frozenset(self._ring.ids_of(query.subject))
        self._equal = {
            name: wanted
            for name in ("workspace", "kind", "action", "actor", "status", "request_id")
            if (wanted := getattr(query, name)) is not None
        }

    def newest_first(self, end: int | None) -> Iterator[Record]:
        """Yield those below index *end* (all, when None), last first."""
        return self._matching(iter_newest_first(self._folder, end, self._until_us))

    def oldest_first(self, start: int) -> Iterator[Record]:
        """Yield those from index *start* on."""
        return self._matching(iter_oldest_first(self._folder, start, self._since_us))

    def _matching(self, frames: Iterator[Frame]) -> Iterator[Record]:
        try:
            for frame in frames:
                record = self._matched(frame)
                if record is not None:
                    yield record
        except DamageError as damage:
            raise corrupt(self._folder.name, damage) from damage

    def _matched(self, frame: Frame) -> Record | None:
        """Return the record in *frame* when it matches; raises DamageError when it cannot be read."""
        try:
            if self._key_ids is not None and key_id_of(frame.private) not in self._key_ids:
                return None
            leaf = parse_leaf(frame.leaf)
            if not self._is_match(leaf):
                return None
            private = self._open(frame)
        except ValueError as error:
            raise DamageError(frame.index, str(error)) from error
        if self._query.is_private and (private is None or not self._is_private_match(leaf, private)):
            return None
        return _record(frame, leaf, private if self._reveal else None)

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
