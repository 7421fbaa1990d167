"""A call as a pure value: what is sent, and how the reply is read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

from pydantic import TypeAdapter

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request and how to read its reply. Send it with Client.send or AsyncClient.send."""

    method: str
    path: str
    read: Callable[[bytes], T]
    query: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: Any = None  # bytes, or an iterator of bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@cache
def reader_of(type_: Hashable) -> Callable[[bytes], Any]:
    """Return what reads a reply of that type; made once for each."""
    adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", type_))
    return adapter.validate_json


def read_nothing(_: bytes) -> None:
    """Read a reply that has no body."""


def api_call(type_: Hashable, method: str, path: str, *, json: object = None, **query: object) -> Call[Any]:
    """Return a call of the management API; a query item that is None is left out."""
    text = {name.rstrip("_"): _text(value) for name, value in query.items() if value is not None}
    return Call(method=method, path=f"/api/v1/{path}", read=reader_of(type_), query=text, json=json)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def path_part(value: object) -> str:
    """Return *value* as one part of a path, whatever characters it has."""
    part = quote(str(value), safe="")
    return part.replace(".", "%2E") if part in {".", ".."} else part  # dots alone would lead to another place
