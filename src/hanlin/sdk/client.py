"""Clients: thin shells that send calls and read replies, blocking or not."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx

from hanlin.domain import PlatformError, Task, UnavailableError
from hanlin.sdk.call import Call
from hanlin.sdk.calls import Calls
from hanlin.sdk.errors import read_error

T = TypeVar("T")
TIMEOUT = httpx.Timeout(30.0, connect=5.0, write=None)


class Client:
    """Talks to Hanlin and waits for each answer. Raises the classes of hanlin.domain for errors that Hanlin reports."""

    def __init__(self, url: str, key: str = "", *, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, transport=transport, trust_env=False)

    def send(self, call: Call[T]) -> T:
        """Send *call* and return its reply."""
        try:
            response = self._http.request(call.method, call.path, **_arguments(call))
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error
        return _read(call, response)

    def classify(self, model: str, texts: str | Sequence[str], **fields: object) -> dict[str, Any]:
        """Ask a deployment for labels; *url* must be the gateway's. Fields: truncate, user."""
        return self.send(classify(model, texts, **fields))

    def wait_for_task(self, task_id: str, *, on_change: Callable[[Task], None] = lambda _: None) -> Task:
        """Return the task when it is over; *on_change* sees every state and progress on the way."""
        seen = None
        while True:
            task = self.send(Calls.get_task(task_id))
            if task != seen:
                on_change(seen := task)
            if task.is_over:
                return task
            time.sleep(0.3)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """The same as Client, for asynchronous programs."""

    def __init__(self, url: str, key: str = "", *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=TIMEOUT, transport=transport, trust_env=False
        )

    async def send(self, call: Call[T]) -> T:
        """Send *call* and return its reply."""
        reply, _ = await self.exchange(call)
        return reply

    async def exchange(self, call: Call[T]) -> tuple[T, Mapping[str, str]]:
        """Send *call* and return its reply with the headers it came with (timings, request id, model digest)."""
        try:
            response = await self._http.request(call.method, call.path, **_arguments(call))
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error
        return _read(call, response), response.headers

    async def classify(self, model: str, texts: str | Sequence[str], **fields: object) -> dict[str, Any]:
        """Ask a deployment for labels; *url* must be the gateway's. Fields: truncate, user."""
        return await self.send(classify(model, texts, **fields))

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[str]]:
        """Open the stream of events: lines of server-sent events as they come."""
        async with self._http.stream("GET", "/api/v1/events", timeout=None) as response:
            if response.is_error:
                await response.aread()
                raise read_error(response)
            yield response.aiter_lines()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def classify(model: str, texts: str | Sequence[str], **fields: object) -> Call[dict[str, Any]]:
    """Build the call of POST /v1/classify on a gateway."""
    from pydantic_core import from_json

    body = {"model": model, "input": texts if isinstance(texts, str) else list(texts), **fields}
    return Call(method="POST", path="/v1/classify", read=from_json, json=body)


def _arguments(call: Call[Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {"params": dict(call.query), "headers": dict(call.headers)}
    if call.json is not None:
        arguments["json"] = call.json
    if call.content is not None:
        arguments["content"] = call.content
    return arguments


def _read(call: Call[T], response: httpx.Response) -> T:
    if response.is_error:
        raise read_error(response)
    return call.read(response.content)


def _unreachable(url: httpx.URL, error: httpx.TransportError) -> PlatformError:
    return UnavailableError(
        f"{url} does not answer: {error}", code="unreachable", hint="is Hanlin running? `hanlin up` starts it"
    )
