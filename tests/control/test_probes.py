"""Probes: from a sign of life to an answer that must stay the same."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hanlin.control import GatewayLink, Probes
from hanlin.control.probes import GOLDEN_TEXT
from hanlin.sdk import AsyncClient
from hanlin.settings import ProbeSettings
from hanlin.wire import ReplicaReport
from hanlin.wire.admin import ProbeReply

DIGEST, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


class Front:
    """A gateway's front door that answers as the test says, over real sockets."""

    def __init__(self) -> None:
        self.ready = 200
        self.answer: dict[str, Any] = {"digest": DIGEST, "data": [{"label": "正面", "score": 0.9}]}
        self.is_broken = False
        self.asked: list[dict[str, Any]] = []
        routes = [Route("/readyz", self._readyz), Route("/v1/classify", self._classify, methods=["POST"])]
        self.app = Starlette(routes=routes)

    async def _readyz(self, _: Request) -> Response:
        return Response(status_code=self.ready)

    async def _classify(self, request: Request) -> Response:
        self.asked.append(json.loads(await request.body()))
        if self.is_broken:
            error = {"message": "no replica is ready", "type": "x", "param": None, "code": "forbidden"}
            return JSONResponse({"error": error}, 403)
        return JSONResponse(self.answer)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Listen on a free port and yield the address."""
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(self.app, log_config=None, lifespan="off"))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@pytest.fixture
def front() -> Front:
    """What the probes look at."""
    return Front()


@pytest.fixture
def served() -> dict[str, str]:
    """The deployments that serve, and the digest of each."""
    return {"reviews": DIGEST}


@pytest.fixture
async def url(front: Front) -> AsyncIterator[str]:
    """The address of the front door."""
    async with front.serve() as url:
        yield url


@pytest.fixture
async def probes(url: str, served: dict[str, str]) -> AsyncIterator[Probes]:
    """Probes of the front door, which give a target up after two failures in a row."""
    async with AsyncClient(url, "key") as gateway:
        yield Probes(
            ProbeSettings(failures=2),
            GatewayLink(),
            targets={"gateway": url},
            gateway=gateway,
            deployments=lambda: served,
        )


def only(probes: Probes) -> ProbeReply:
    """Return the one result there is."""
    [result] = probes.results()
    return result


class TestHttp:
    async def test_asks_whether_a_process_is_ready(self, probes: Probes) -> None:
        """A process that says it is ready is healthy, with how long it took to say so."""
        await probes.http()

        result = only(probes)
        assert (result.probe, result.target, result.is_healthy, result.message) == ("http", "gateway", True, "")
        assert result.latency_ms is not None

    async def test_gives_up_after_some_failures_and_forgives_at_once(self, probes: Probes, front: Front) -> None:
        """One failure may be chance, as many as the settings say are not, and one success is enough to be well."""
        seen = []
        for front.ready in (503, 503, 503, 200, 503):
            await probes.http()
            seen.append((only(probes).is_healthy, only(probes).failures, only(probes).message))

        said = "/readyz answered 503"
        assert seen == [(True, 1, said), (False, 2, said), (False, 3, said), (True, 0, ""), (True, 1, said)]

    async def test_survives_what_does_not_answer(self) -> None:
        """A process that is gone is a finding, not an error."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with AsyncClient(url, "key") as gateway:
            probes = Probes(
                ProbeSettings(failures=1), GatewayLink(), targets={"x": url}, gateway=gateway, deployments=dict
            )
            await probes.http()

        assert not only(probes).is_healthy
        assert only(probes).message.startswith("no answer: ")


class TestDeep:
    async def test_sends_the_golden_text_through_the_real_path(self, probes: Probes, front: Front) -> None:
        """The probe is a prediction like any other, recognizable by its user."""
        await probes.deep()

        assert only(probes).is_healthy
        [body] = front.asked
        assert (body["model"], body["input"], body["user"]) == ("reviews", GOLDEN_TEXT, "probe")
        assert probes.uptime("reviews") == (1, 1)

    @pytest.mark.parametrize(
        ("label", "score", "is_same"),
        [("正面", 0.9, True), ("正面", 0.915, True), ("正面", 0.87, False), ("负面", 0.9, False)],
    )
    async def test_expects_the_answer_that_a_version_gave_first(
        self, probes: Probes, front: Front, label: str, score: float, is_same: bool
    ) -> None:
        """A model that changes its mind is broken, however fast it answers."""
        await probes.deep()
        front.answer = {"digest": DIGEST, "data": [{"label": label, "score": score}]}
        await probes.deep()

        assert (only(probes).message == "") == is_same
        assert probes.uptime("reviews") == (2, 2 if is_same else 1)

    async def test_expects_nothing_of_a_new_version(self, probes: Probes, front: Front, served: dict[str, str]) -> None:
        """Another version may judge otherwise, from the first answer on and while the gateway changes over."""
        await probes.deep()
        front.answer = {"digest": OTHER, "data": [{"label": "负面", "score": 0.6}]}
        await probes.deep()
        served["reviews"] = OTHER
        await probes.deep()
        front.answer = {"digest": OTHER, "data": [{"label": "负面", "score": 0.61}]}
        await probes.deep()

        assert only(probes).message == ""
        assert probes.uptime("reviews") == (4, 4)

    async def test_counts_what_failed(self, probes: Probes, front: Front) -> None:
        """A refusal is a failure with its reason, and counts against the uptime."""
        front.is_broken = True
        await probes.deep()
        await probes.deep()

        assert not only(probes).is_healthy
        assert "no replica is ready" in only(probes).message
        assert probes.uptime("reviews") == (2, 0)
        assert probes.uptime("nobody") == (0, 0)


class SeenReplicas(GatewayLink):
    """A link whose gateways see what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, ReplicaReport] = {}

    def replicas(self) -> dict[str, ReplicaReport]:
        """Return what is seen."""
        return self.seen


def report(state: str, lease_age_s: float) -> ReplicaReport:
    """Return what a gateway says of a replica."""
    return ReplicaReport(
        id="a",
        deployment="reviews",
        version=1,
        digest=DIGEST,
        release=1,
        state=state,
        in_flight=0,
        served=0,
        start_s=0.0,
        memory_bytes=0,
        pid=1,
        lease_age_s=lease_age_s,
        error="",
    )


class TestPing:
    async def test_looks_at_the_lease_of_every_ready_replica(self) -> None:
        """Silence is counted; a replica that is not meant to answer, or is gone, has no result."""
        link = SeenReplicas()
        async with AsyncClient("http://127.0.0.1:9", "key") as gateway:
            probes = Probes(ProbeSettings(failures=2), link, targets={}, gateway=gateway, deployments=dict)
            link.seen = {"a": report("ready", 0.1), "b": report("ready", 2.5), "c": report("starting", 9.0)}
            await probes.ping()
            await probes.ping()
            first = [(r.target, r.is_healthy, r.message) for r in probes.results()]
            link.seen = {"b": report("ready", 0.2)}
            await probes.ping()

        assert first == [("a", True, ""), ("b", False, "no sign of life for 2.5 s")]
        assert [(r.target, r.is_healthy) for r in probes.results()] == [("b", True)]
