"""One noun's rows: add, get, replace what has not changed meanwhile, list page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import Connection, Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from hanlin.domain import ConflictError, NotFoundError, PreconditionFailedError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, in key order, and where the next page starts (None at the end)."""

    items: list[T]
    next_cursor: str | None = None


def join_key(*parts: str | int) -> str:
    """Return the key of a row; numbers are padded so that keys sort by them."""
    return "/".join(f"{part:09d}" if isinstance(part, int) else part for part in parts)


class Collection(Generic[T]):
    """The rows of one noun. Every call is one transaction of its own unless one is open around it."""

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[Connection]],
        table: Table,
        type_: type[T],
        *,
        key: Callable[[T], str],
        noun: str,
        columns: Callable[[T], Mapping[str, object]] = lambda _: {},
    ) -> None:
        self._connect, self._table, self._key, self._columns, self._noun = connect, table, key, columns, noun
        self._decode = msgspec.json.Decoder(type_).decode
        self._encode = msgspec.json.Encoder(order="deterministic").encode

    def add(self, item: T, **columns: object) -> T:
        """Insert *item* and return it, or raise ConflictError when its key is taken; *columns* are kept beside it."""
        row = {"key": self._key(item), "body": self._body(item), **self._columns(item), **columns}
        try:
            with self._connect() as connection:
                connection.execute(insert(self._table).values(row))
        except IntegrityError:
            raise ConflictError(
                f"{self._noun} {row['key']} exists already", code=f"{self._noun}_exists", hint="choose another name"
            ) from None
        return item

    def find(self, *key: str | int) -> T | None:
        """Return the item with *key*, or None."""
        with self._connect() as connection:
            body = connection.execute(
                select(self._table.c.body).where(self._table.c.key == join_key(*key))
            ).scalar_one_or_none()
        return None if body is None else self._decode(body)

    def get(self, *key: str | int) -> T:
        """Return the item with *key*, or raise NotFoundError."""
        if (item := self.find(*key)) is None:
            name = "/".join(map(str, key))
            raise NotFoundError(f"there is no {self._noun} {name!r}", code=f"{self._noun}_not_found")
        return item

    def replace(self, item: T, *, was: T) -> T:
        """Write *item* in the place of *was* and return it; raise PreconditionFailedError if *was* is gone."""
        changed = update(self._table).where(self._table.c.key == self._key(was), self._table.c.body == self._body(was))
        with self._connect() as connection:
            done = connection.execute(changed.values(body=self._body(item), **self._columns(item)))
        if done.rowcount != 1:
            raise PreconditionFailedError(
                f"{self._noun} {self._key(was)} was changed meanwhile", hint="read it again, then repeat the change"
            )
        return item

    def remove(self, *key: str | int) -> None:
        """Delete the item with *key*; nothing happens when there is none. Idempotent."""
        with self._connect() as connection:
            connection.execute(delete(self._table).where(self._table.c.key == join_key(*key)))

    def list(
        self, *, limit: int = 100, after: str | None = None, newest_first: bool = False, **filters: object
    ) -> Page[T]:
        """Return up to *limit* items whose columns equal *filters*, in key order, from behind the cursor *after*."""
        column = self._table.c.key
        query = select(column, self._table.c.body).order_by(column.desc() if newest_first else column).limit(limit + 1)
        for name, value in filters.items():
            if value is not None:
                query = query.where(self._table.c[name] == value)
        if after is not None:
            query = query.where(column < after if newest_first else column > after)
        with self._connect() as connection:
            rows = connection.execute(query).all()
        items = [self._decode(row.body) for row in rows[:limit]]
        return Page(items, rows[limit - 1].key if len(rows) > limit else None)

    def iter(self, **filters: object) -> Iterator[T]:
        """Yield every item whose columns equal *filters*, in key order, a page at a time."""
        cursor: str | None = None
        while True:
            page = self.list(limit=500, after=cursor, newest_first=False, **filters)
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def _body(self, item: Any) -> str:
        return self._encode(item).decode()
