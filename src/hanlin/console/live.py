"""
One stream of events per page, made from the management API's own stream with the visitor's key.

* ``figures``: JSON with the latest figures of every subject, for charts and numbers;
* ``deployments``, ``tasks``, ``task-ID``, ``alerts``: something about it changed; parts of pages that show it are
  fetched again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import httpx
from fastapi import APIRouter, Response
from starlette.responses import StreamingResponse

from hanlin.console.visit import Member, Visit
from hanlin.domain import PlatformError

router = APIRouter()
HEARTBEAT_S = 15.0
HEADERS = {"X-Accel-Buffering": "no"}


@router.get("/events")
async def stream_events(visit: Member) -> Response:
    """Stream what happens to a page."""
    return StreamingResponse(_events(visit), media_type="text/event-stream", headers=HEADERS)


async def _events(visit: Visit) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    lines: asyncio.Queue[str | None] = asyncio.Queue(1000)
    reading = asyncio.create_task(_read(visit, lines))
    news, name = News(), ""
    try:
        while True:
            try:
                text = await asyncio.wait_for(lines.get(), HEARTBEAT_S)
            except TimeoutError:
                yield ": still here\n\n"
                continue
            if text is None:
                return  # the browser connects again
            field, _, value = text.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                for event, data in news.of(name, json.loads(value), time.time()):
                    yield f"event: {event}\ndata: {data}\n\n"
    finally:
        reading.cancel()


async def _read(visit: Visit, lines: asyncio.Queue[str | None]) -> None:
    with suppress(PlatformError, httpx.HTTPError):
        async with visit.api.events() as stream:
            async for text in stream:
                await lines.put(text)
    await lines.put(None)


class News:
    """Turns the events of the API into those of a page: figures always, changes only when there are some."""

    def __init__(self) -> None:
        self._seen: dict[str, object] = {}

    def of(self, event: str, body: Mapping[str, Any], now: float) -> list[tuple[str, str]]:
        """Return the page's events for one event of the API; the first look at a thing counts as a change."""
        if event == "task":
            changes = {f"task-{body['id']}": body, "tasks": {**self._states(), body["id"]: body["state"]}}
            return [(name, name) for name, value in changes.items() if self._is_new(name, value)]
        if event != "overview":
            return []
        states = [
            {name: value for name, value in deployment.items() if name != "figures"}
            for deployment in body["deployments"]
        ]
        changed = {"deployments": states, "alerts": body["open_alerts"]}
        figures = json.dumps({"at": now, "subjects": subjects_of(body)})
        return [("figures", figures), *((name, name) for name, value in changed.items() if self._is_new(name, value))]

    def _states(self) -> dict[str, object]:
        seen = self._seen.get("tasks", {})
        return dict(seen) if isinstance(seen, Mapping) else {}

    def _is_new(self, name: str, value: object) -> bool:
        if self._seen.get(name) == value:
            return False
        self._seen[name] = value
        return True


def subjects_of(overview: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the figures of every deployment, of gateway and host, and of the platform as a whole."""
    tasks = overview["tasks"]
    subjects = {
        deployment["name"]: {
            **deployment["figures"],
            "replicas_ready": deployment["ready"],
            "replicas_wanted": deployment["wanted"],
        }
        for deployment in overview["deployments"]
    }
    platform = {"tasks_active": tasks["running"] + tasks["queued"], "open_alerts": overview["open_alerts"]}
    return {**subjects, "gateway": overview["gateway"], "host": overview["host"], "platform": platform}
