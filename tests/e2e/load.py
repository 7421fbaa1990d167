"""Predictions in an open loop: so many a second, whatever becomes of those before."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from typing import Self

import httpx
from tests.e2e.running import RunningPlatform, until

TEXTS = ("这个产品好棒", "又慢又差", "我们大家都喜爱", "烂", "一个人在家里看到的优美")


@dataclass(frozen=True)
class Answer:
    """What came of one request; status 0 when no answer came at all."""

    request_id: str
    status: int
    code: str
    sent_at: float


@dataclass
class Load:
    """Sends from a thread of its own over several connections, from entering to leaving."""

    platform: RunningPlatform
    deployment: str
    per_second: float = 30.0
    connections: int = 8
    texts: int = 1
    answers: list[Answer] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._prefix = f"load-{time.monotonic_ns()}"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send_all()))
        self._thread.start()
        until(lambda: len(self.answers) > 3, 10, "answers come")
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def acknowledged(self) -> set[str]:
        """The ids of the requests that were answered with 200."""
        return {answer.request_id for answer in self.answers if answer.status == 200}

    @property
    def failed(self) -> list[Answer]:
        """What did not go well."""
        return [answer for answer in self.answers if answer.status != 200]

    def go_on(self, answers: int = 20) -> float:
        """Return when so many requests that are sent from now on were answered well, and how many seconds it took."""
        since = time.monotonic()
        return until(lambda: self._answered(since) >= answers, 30, f"{answers} more answers")

    def _answered(self, since: float) -> int:
        return sum(answer.status == 200 and answer.sent_at > since for answer in self.answers)

    async def _send_all(self) -> None:
        limits = httpx.Limits(max_connections=self.connections)
        headers = {"Authorization": f"Bearer {self.platform.key}"}
        async with (
            httpx.AsyncClient(
                base_url=self.platform.addresses["gateway"], headers=headers, limits=limits, timeout=30, trust_env=False
            ) as client,
            asyncio.TaskGroup() as requests,
        ):
            number, begun = 0, time.monotonic()
            while not self._stopping.is_set():
                requests.create_task(self._send(client, number))
                number += 1
                await asyncio.sleep(max(0.0, begun + number / self.per_second - time.monotonic()))

    async def _send(self, client: httpx.AsyncClient, number: int) -> None:
        request_id, sent_at = f"{self._prefix}-{number}", time.monotonic()
        text = TEXTS[number % len(TEXTS)]
        body = {"model": self.deployment, "input": text if self.texts == 1 else [text] * self.texts}
        try:
            reply = await client.post("/v1/classify", json=body, headers={"X-Request-Id": request_id})
        except httpx.TransportError as error:
            self.answers.append(Answer(request_id, 0, type(error).__name__, sent_at))
            return
        code = "" if reply.status_code == 200 else reply.json()["error"]["code"]
        self.answers.append(Answer(request_id, reply.status_code, code, sent_at))
