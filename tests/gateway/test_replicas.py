"""Replicas come, hang, die and are asked too much; callers notice as little as can be."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import httpx
import pytest
from tests.gateway.running import TOKEN, RunningGateway, grant, route, until
from tests.tiny_model import build_servable

from hanlin.settings import GatewaySettings
from hanlin.wire import Batch, FrameStream, Hello, Ready, Refused, Result


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes some 10 ms per text, so that there is something to interrupt."""
    return build_servable(tmp_path_factory.mktemp("model") / "slow", dim=512, layers=20)


LONG = "好" * 60


async def ask_many(running: RunningGateway, count: int, texts: int = 1) -> list[asyncio.Task[httpx.Response]]:
    """Send *count* requests and wait until replicas work on some of them."""
    tasks = [asyncio.create_task(running.classify([LONG] * texts)) for _ in range(count)]
    await until(lambda: running.gateway.report().deployments[0].in_flight > 0)
    return tasks


def has_arrived(running: RunningGateway, count: int, texts: int) -> bool:
    """Whether the gateway has taken *count* requests of so many *texts*, answered or not."""
    (report,) = running.gateway.report().deployments
    unanswered = count - len(running.ledger.entries)
    return report.queued + report.in_flight > (unanswered - 1) * texts


class TestDeath:
    async def test_of_one_is_noticed_by_nobody(self, running: RunningGateway, slow: Path) -> None:
        """A replica killed with requests in flight: the other one answers them all."""
        await running.serve(slow, "r1", "r2")
        tasks = await ask_many(running, 60)
        await until(lambda: (report := running.report_of("r1")) is not None and report.in_flight > 0)

        running.kill("r1")
        replies = await asyncio.gather(*tasks)

        assert {reply.status_code for reply in replies} == {200}
        assert {reply.json()["data"][0]["label"] for reply in replies} == {"正面"}
        assert running.state_of("r1") in {"failed", ""}
        assert len(running.ledger.entries) == 60

    async def test_of_the_last_lets_requests_wait_for_the_next(self, running: RunningGateway, slow: Path) -> None:
        """With no replica left requests wait within their deadline, and the next replica answers them."""
        await running.serve(slow, "r1")
        tasks = await ask_many(running, 10)

        running.kill("r1")
        await until(lambda: running.state_of("r1") != "ready")
        running.spawn("r2", slow)
        replies = await asyncio.gather(*tasks)

        assert {reply.status_code for reply in replies} == {200}

    async def test_without_a_successor_ends_in_a_refusal(self, running: RunningGateway, model: Path) -> None:
        """No replica within the deadline is 503 ``no_replica_ready`` with Retry-After."""
        await running.publish([route(model, queue_deadline_ms=200)])

        reply = await running.classify("好")

        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_replica_ready")
        assert reply.headers["Retry-After"] == "2"

    async def test_a_text_that_kills_replicas_is_given_up(self, running: RunningGateway, model: Path) -> None:
        """After three replicas died over it a text is refused, instead of taking all the others down."""
        await running.publish([route(model)])
        asking = asyncio.create_task(running.classify("好"))

        for number in range(3):
            stream = await dial(running, f"r{number}")
            await stream.send(Ready(start_s=0.1, memory_bytes=1))
            assert isinstance(await stream.receive(), Batch)
            stream.close()  # as if it died of it
        reply = await asking

        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "replicas_lost")

    async def test_leaving_loses_nothing(self, running: RunningGateway, slow: Path) -> None:
        """SIGTERM drains: what a replica has is answered, the rest goes to the other one, and it exits well."""
        await running.serve(slow, "r1", "r2")
        tasks = await ask_many(running, 40)

        running.kill("r1", signal.SIGTERM)
        replies = await asyncio.gather(*tasks)

        assert {reply.status_code for reply in replies} == {200}
        assert await asyncio.to_thread(running.replicas["r1"].wait, 10) == 0
        assert running.state_of("r2") == "ready"


class TestLease:
    async def test_of_a_hanging_replica_runs_out(self, running: RunningGateway, slow: Path) -> None:
        """A replica that is stopped, not dead, is cut off within seconds and its requests are answered elsewhere."""
        await running.serve(slow, "r1", "r2")
        tasks = await ask_many(running, 30)
        await until(lambda: (report := running.report_of("r1")) is not None and report.in_flight > 0)

        running.kill("r1", signal.SIGSTOP)
        began = time.monotonic()
        replies = await asyncio.gather(*tasks)
        await until(lambda: running.state_of("r1") != "ready")
        took_s = time.monotonic() - began
        report = running.report_of("r1")

        assert {reply.status_code for reply in replies} == {200}
        assert 1 < took_s < 10
        assert report is not None
        assert "lease" in report.error

    async def test_begins_again_when_it_wakes_up(self, running: RunningGateway, model: Path) -> None:
        """A replica that goes on after its lease ran out dials in again by itself and serves."""
        await running.serve(model, "r1")
        running.kill("r1", signal.SIGSTOP)
        await until(lambda: running.state_of("r1") != "ready")

        running.kill("r1", signal.SIGCONT)
        await until(lambda: running.state_of("r1") == "ready")

        assert (await running.classify("好")).status_code == 200


class TestOverload:
    async def test_is_refused_at_once(self, running: RunningGateway, model: Path) -> None:
        """A full queue answers 503 ``overloaded`` with Retry-After, in a few milliseconds; what waits keeps waiting."""
        await running.publish([route(model, queue_limit=8)])
        waiting = [asyncio.create_task(running.classify(["好"] * 4)) for _ in range(2)]
        await until(lambda: running.gateway.report().deployments[0].queued == 8)

        took, replies = [], []
        for _ in range(20):
            began = time.perf_counter()
            replies.append(await running.classify("好"))
            took.append(time.perf_counter() - began)
        running.spawn("r1", model)

        assert {reply.status_code for reply in replies} == {503}
        assert {reply.json()["error"]["code"] for reply in replies} == {"overloaded"}
        assert {reply.headers["Retry-After"] for reply in replies} == {"1"}
        assert sorted(took)[10] < 0.05
        assert [reply.status_code for reply in await asyncio.gather(*waiting)] == [200, 200]

    async def test_a_list_that_can_never_fit_is_refused_too(self, running: RunningGateway, model: Path) -> None:
        """More texts than the queue holds are refused even when nothing waits."""
        await running.serve(model, "r1")
        await running.publish([route(model, queue_limit=4)])

        assert (await running.classify(["好"] * 5)).json()["error"]["code"] == "overloaded"
        assert (await running.classify(["好"] * 4)).status_code == 200

    async def test_deadlines_hold(self, running: RunningGateway, slow: Path) -> None:
        """X-Request-Timeout shortens the wait: 504 in time, its place is free, and the replica goes on serving."""
        await running.serve(slow, "r1")
        tasks = await ask_many(running, 20)

        began = time.perf_counter()
        late = await running.classify([LONG] * 100, headers={"X-Request-Timeout": "150"})
        took_s = time.perf_counter() - began

        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert 0.1 < took_s < 3
        assert {reply.status_code for reply in await asyncio.gather(*tasks)} == {200}
        await until(lambda: running.gateway.report().deployments[0].queued == 0)

    @pytest.mark.parametrize("wrong", ["soon", "0", "-5", "1.5", "1e3"])
    async def test_a_deadline_is_a_number_of_milliseconds(
        self, running: RunningGateway, model: Path, wrong: str
    ) -> None:
        """Anything else is 400, not ignored."""
        await running.publish([route(model)])

        assert (await running.classify("好", headers={"X-Request-Timeout": wrong})).status_code == 400


class TestRestart:
    async def test_without_control_serves_from_disk(self, running: RunningGateway, model: Path) -> None:
        """A gateway that starts again while control is away knows keys and routes, and its replicas come back."""
        await running.serve(model, "r1")
        before = running.report_of("r1")

        await running.stop()
        await running.start()
        await until(lambda: running.state_of("r1") == "ready")
        reply = await running.classify("好")
        after = running.report_of("r1")

        assert reply.status_code == 200
        assert running.gateway.report().revision == running.revision
        assert before is not None
        assert after is not None
        assert before.pid == after.pid

    async def test_keeps_a_revocation(self, running: RunningGateway, model: Path) -> None:
        """The newest snapshot is the one on disk: a key revoked before the restart stays revoked after it."""
        await running.serve(model, "r1")
        await running.publish([route(model)], [])

        await running.stop()
        await running.start()

        assert (await running.classify("好")).status_code == 401

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"revision": "x"}'])
    async def test_with_a_broken_snapshot_waits_for_control(
        self, running: RunningGateway, model: Path, body: bytes
    ) -> None:
        """Half a file on disk is no snapshot: the gateway is up, says that it is not ready, and takes the next one."""
        await running.stop()
        (running.folder / "snapshot.json").write_bytes(body)
        await running.start()

        before = await running.client.get("/readyz")
        await running.publish([route(model)])

        assert before.status_code == 503
        assert (await running.client.get("/readyz")).status_code == 200

    async def test_answers_what_it_has_accepted(self, tmp_path: Path, slow: Path) -> None:
        """Stopping drains: requests under way are answered before the gateway is gone."""
        async with RunningGateway(tmp_path, GatewaySettings(port=0, drain_s=20)) as running:
            await running.serve(slow, "r1", "r2")
            tasks = await ask_many(running, 20, texts=3)
            await until(lambda: has_arrived(running, 20, texts=3))

            await running.stop()
            replies = await asyncio.gather(*tasks)
            await running.start()

        assert {reply.status_code for reply in replies} == {200}
        assert "close" in {reply.headers.get("Connection") for reply in replies}  # some were answered before


class TestNewVersion:
    async def test_takes_over_without_a_gap(self, running: RunningGateway, model: Path, tmp_path: Path) -> None:
        """While the route moves to another version every request is answered, by the old one or the new."""
        second, digest = build_servable(tmp_path / "v2", seed=1), "sha256:" + "2" * 64
        await running.serve(model, "r1")
        running.spawn("r2", second, version=2, digest=digest)
        await until(lambda: running.state_of("r2") == "ready")
        versions: list[int] = []

        async def ask() -> None:
            while 2 not in versions[-20:] or len(versions) < 100:
                reply = await running.classify("好")
                assert reply.status_code == 200
                versions.append(reply.json()["version"])

        asking = asyncio.create_task(ask())
        await until(lambda: len(versions) > 20)
        await running.publish([route(second, version=2, digest=digest)])
        await asking

        assert versions == sorted(versions)
        assert set(versions) == {1, 2}

    async def test_whose_folder_is_broken_leaves_the_old_one(
        self, running: RunningGateway, model: Path, tmp_path: Path
    ) -> None:
        """A route that cannot be used changes nothing."""
        await running.serve(model, "r1")

        await running.publish([route(tmp_path / "nothing", version=2, digest="sha256:2")])
        reply = await running.classify("好")

        assert (reply.status_code, reply.json()["version"]) == (200, 1)

    async def test_that_is_gone_ends_waiting_requests(self, running: RunningGateway, model: Path) -> None:
        """A deployment that is deleted while requests wait for it answers them: there is none."""
        await running.publish([route(model)])
        asking = asyncio.create_task(running.classify("好"))
        await until(lambda: running.gateway.report().deployments[0].queued == 1)

        await running.publish([])

        assert (await asking).json()["error"]["code"] == "model_not_found"


class TestJoining:
    async def test_needs_the_token(self, running: RunningGateway, model: Path) -> None:
        """A replica with a wrong join token is refused, is never sent a text, and ends."""
        await running.publish([route(model)])
        process = running.spawn("intruder", model, token="guessed")

        assert await asyncio.to_thread(process.wait, 15) != 0
        assert running.state_of("intruder") == ""

    async def test_a_wrong_token_is_told_so(self, running: RunningGateway) -> None:
        """The refusal names the reason and the connection ends."""
        stream = await dial(running, "r1", token="guessed")

        assert await stream.receive() == Refused(reason="the join token is wrong")
        assert await stream.receive() is None
        stream.close()

    async def test_nonsense_ends_the_connection(self, running: RunningGateway) -> None:
        """Whoever does not speak the protocol is cut off; the gateway goes on."""
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, (4).to_bytes(4, "little") + b"nope"):
            reader, writer = await asyncio.open_unix_connection(str(running.folder / "gateway.sock"))
            writer.write(words)
            async with asyncio.timeout(10):
                assert await reader.read() == b""
            writer.close()

        assert (await running.client.get("/livez")).status_code == 200

    async def test_silence_ends_the_connection(self, running: RunningGateway) -> None:
        """Whoever dials and says nothing is cut off after a lease."""
        reader, writer = await asyncio.open_unix_connection(str(running.folder / "gateway.sock"))

        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()

    async def test_again_replaces_the_older_connection(self, running: RunningGateway, model: Path) -> None:
        """A replica that dials twice is one replica: the older connection is cut, the newer one serves."""
        await running.publish([route(model)])
        first = await dial(running, "r1")
        await first.send(Ready(start_s=0.1, memory_bytes=1))
        await until(lambda: running.state_of("r1") == "ready")

        second = await dial(running, "r1")
        assert await ended(first)
        await second.send(Ready(start_s=0.1, memory_bytes=1))
        await until(lambda: running.state_of("r1") == "ready")

        assert len(running.gateway.report().replicas) == 1
        first.close()
        second.close()

    async def test_scores_that_do_not_fit_are_no_answer(self, running: RunningGateway, model: Path) -> None:
        """A replica whose scores have another shape than its model is not believed: 500, no invented label."""
        await running.publish([route(model)])
        stream = await dial(running, "r1")
        await stream.send(Ready(start_s=0.1, memory_bytes=1))
        asking = asyncio.create_task(running.classify("好"))
        batch = await stream.receive()
        assert isinstance(batch, Batch)

        await stream.send(Result(id=batch.id, labels=3, logits=b"\0" * 12, compute_s=0.1))
        reply = await asking
        stream.close()

        assert (reply.status_code, reply.json()["error"]["code"]) == (500, "engine_output_invalid")


class TestFairness:
    async def test_a_keys_limit_is_its_own(self, running: RunningGateway, model: Path) -> None:
        """One key past its limit is 429 with Retry-After; another key is served all the while."""
        other = "hl_bbbbbbbb_" + "k" * 43
        await running.serve(model, "r1")
        await running.publish([route(model)], [grant(requests_per_minute=1), grant(other)])

        mine = [(await running.classify("好")).status_code for _ in range(3)]
        theirs = [
            (await running.classify("好", headers={"Authorization": f"Bearer {other}"})).status_code for _ in range(3)
        ]

        assert mine == [200, 429, 429]
        assert theirs == [200, 200, 200]


async def dial(running: RunningGateway, name: str, token: str = TOKEN) -> FrameStream[Batch | Refused]:
    """Dial in as a replica does."""
    reader, writer = await asyncio.open_unix_connection(str(running.folder / "gateway.sock"))
    stream: FrameStream[Batch | Refused] = FrameStream(reader, writer, Batch | Refused)
    digest = "sha256:" + "1" * 64
    await stream.send(Hello(token, name, "reviews", 1, digest, 1, 1))
    return stream


async def ended(stream: FrameStream[Batch | Refused]) -> bool:
    """Return whether the gateway has closed the connection, once it did or said something else."""
    try:
        return await stream.receive() is None
    except ConnectionError:
        return True
