from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.running import DIGEST, KEY, RunningGateway, grant, route, until
from tests.tiny_model import POISON

GOLDEN = Path(__file__).parents[1] / "golden"
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class TestClassify:
    async def test_answers_one_text(self, running: RunningGateway, model: Path) -> None:
        """A text gets a label, its score, all probabilities, and what it cost (tests/golden/classify_reply.json)."""
        await running.serve(model, "r1")

        reply = await running.classify("这个很好")

        golden = json.loads((GOLDEN / "classify_reply.json").read_text(encoding="utf-8"))
        (expected,) = golden["data"]
        body = reply.json()
        (one,) = body["data"]
        assert reply.status_code == 200
        assert {**body, "data": []} == {**golden, "data": []}
        assert list(one) == list(expected)
        assert (one["index"], one["label"]) == (0, "正面")
        assert one["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-4)
        assert one["score"] == one["probabilities"]["正面"]

    async def test_answers_a_list_in_order(self, running: RunningGateway, model: Path) -> None:
        """Each text of a list has its row, wherever and with whomever it was computed."""
        await running.serve(model, "r1", "r2")
        texts = ["好" * (1 + i % 30) if i % 3 else "坏 " + "的" * (i % 7) for i in range(40)]

        reply = await running.classify(texts)

        data = reply.json()["data"]
        assert [one["index"] for one in data] == list(range(40))
        assert [one["label"] for one in data] == ["正面" if i % 3 else "负面" for i in range(40)]
        assert reply.json()["usage"]["texts"] == 40
        assert len(running.ledger.entries) == 1

    async def test_says_what_answered_and_where_the_time_went(self, running: RunningGateway, model: Path) -> None:
        """Headers name the version and its digest, and split the time; ids are kept or made."""
        await running.serve(model, "r1")
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

        headers = {"X-Request-Id": "order-17", "traceparent": trace}
        reply = await running.classify("好", headers=headers)
        forged = await running.classify("好", headers={"X-Request-Id": "a b", "traceparent": "00-zz"})

        assert (reply.headers["X-Model-Version"], reply.headers["X-Model-Digest"]) == ("1", DIGEST)
        assert (reply.headers["X-Request-Id"], reply.headers["traceparent"]) == ("order-17", trace)
        timing = dict(re.findall(r"(\w+);dur=([\d.]+)", reply.headers["Server-Timing"]))
        assert list(timing) == ["queue", "infer", "audit", "total"]
        assert float(timing["total"]) >= float(timing["queue"]) + float(timing["infer"])
        assert UUID7.fullmatch(forged.headers["X-Request-Id"])
        assert "traceparent" not in forged.headers

    async def test_truncates_only_when_asked(self, running: RunningGateway, model: Path) -> None:
        """A text past the model's length is 413 with limit and size, unless ``truncate`` is true."""
        await running.serve(model, "r1")

        refused = await running.classify(["好", "好" * 100])
        judged = await running.classify("好" * 100, truncate=True)

        error = refused.json()["error"]
        assert refused.status_code == 413
        assert error["code"] == "text_too_long"
        assert error["message"].startswith("text 1 has 102 tokens, the model takes 64")
        assert judged.json()["usage"] == {"texts": 1, "tokens": 64}

    async def test_tokenizes_long_lists_aside(self, running: RunningGateway, model: Path) -> None:
        """Input that takes long to tokenize is answered all the same."""
        await running.serve(model, "r1")

        reply = await running.classify(["好" * 60] * 200)

        assert reply.json()["usage"] == {"texts": 200, "tokens": 200 * 62}


class TestBadRequests:
    @pytest.mark.parametrize(
        ("body", "status", "code", "says"),
        [
            (b'{"model": "reviews", "input": "x"', 400, "malformed_json", "truncated"),
            (b'{"model": "reviews", "input": x}', 400, "malformed_json", "byte 30"),
            (b'{"model": "reviews", "input": "\xff"}', 400, "malformed_json", "JSON"),
            (b"", 400, "malformed_json", "truncated"),
            (b'{"input": "x"}', 400, "invalid_input", "model"),
            (b'{"model": "reviews", "input": 7}', 400, "invalid_input", "$.input"),
            (b'{"model": "reviews", "input": ["a", 7]}', 400, "invalid_input", "$.input[1]"),
            (b'{"model": "reviews", "input": "x", "trunkate": true}', 400, "invalid_input", "trunkate"),
            (b'{"model": "reviews", "input": ""}', 400, "input_empty", "text 0"),
            (b'{"model": "reviews", "input": ["a", " \\n"]}', 400, "input_empty", "text 1"),
            (b'{"model": "reviews", "input": []}', 400, "input_empty", "empty list"),
            (b'{"model": "nothing", "input": "x"}', 404, "model_not_found", "'nothing'"),
            (b"[" * 100_000, 400, "invalid_input", "object"),
            (b'{"model": "reviews", "input": [' + b'"a",' * 300 + b'"a"]}', 413, "too_many_texts", "301"),
        ],
    )
    async def test_are_told_what_is_wrong(
        self, running: RunningGateway, model: Path, body: bytes, status: int, code: str, says: str
    ) -> None:
        """Each mistake has its status, a stable code and a message that says what was found; and its record."""
        await running.publish([route(model)])

        reply = await running.client.post("/v1/classify", content=body)

        assert reply.status_code == status
        assert reply.json()["error"]["code"] == code
        assert says in reply.json()["error"]["message"]
        assert [(entry.status, entry.details["code"]) for entry in running.ledger.entries] == [(status, code)]
        assert running.ledger.entries[0].request == body

    async def test_in_chinese_where_asked_for(self, running: RunningGateway, model: Path) -> None:
        """Accept-Language picks the language of the message; the code stays."""
        await running.publish([route(model)])

        reply = await running.classify("x", model="nothing", headers={"Accept-Language": "zh-CN"})

        assert reply.json()["error"]["message"].startswith("没有这个部署")
        assert reply.json()["error"]["code"] == "model_not_found"

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/v1/classify", 405),
            ("POST", "/v1/models", 405),
            ("GET", "/nowhere", 404),
            ("GET", "/v1//models", 404),
        ],
    )
    async def test_on_paths_that_are_not_there(
        self, running: RunningGateway, method: str, path: str, status: int
    ) -> None:
        """An unknown path is 404, a wrong method 405 with the right one in Allow."""
        reply = await running.client.request(method, path)

        assert reply.status_code == status
        assert ("Allow" in reply.headers) == (status == 405)

    async def test_a_model_that_computes_nonsense_gives_no_score(self, running: RunningGateway, model: Path) -> None:
        """Not-a-number is a 500 for the text that caused it, and for no other in its batch."""
        await running.serve(model, "r1")

        async with asyncio.TaskGroup() as group:
            texts = ["好", "坏", POISON, "赞", POISON]
            tasks = [group.create_task(running.classify(text)) for text in texts]

        assert [task.result().status_code for task in tasks] == [200, 200, 500, 200, 500]
        assert tasks[2].result().json()["error"]["code"] == "engine_output_invalid"


class TestAccess:
    @pytest.mark.parametrize(
        "authorization",
        [
            "",
            "Bearer",
            "Bearer x",
            "Basic aGk6aG8=",
            f"Bearer {KEY}x",
            f"Bearer {KEY[:-1]}z",
            "Bearer hl_zzzzzzzz_" + "k" * 43,
        ],
    )
    async def test_needs_a_key(self, running: RunningGateway, model: Path, authorization: str) -> None:
        """Without a key that is known the answer is 401, and nothing is written down."""
        await running.publish([route(model)])

        reply = await running.classify("好", headers={"Authorization": authorization})

        assert reply.status_code == 401
        assert reply.json()["error"]["code"] == "invalid_api_key"
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert running.ledger.entries == []

    async def test_a_stored_hash_is_no_key(self, running: RunningGateway, model: Path) -> None:
        """What is kept of keys opens nothing."""
        await running.publish([route(model)])

        reply = await running.classify("好", headers={"Authorization": f"Bearer hl_abcdefgh_{grant().hash}"})

        assert reply.status_code == 401

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({"expires_at": 1.0}, 401),
            ({"roles": ["viewer"]}, 403),
            ({"roles": []}, 403),
            ({"roles": ["invented"]}, 403),
            ({"deployments": ["other"]}, 403),
            ({"workspace": "elsewhere"}, 404),
        ],
    )
    async def test_opens_no_more_than_it_was_given(
        self, running: RunningGateway, model: Path, changes: dict[str, Any], status: int
    ) -> None:
        """Expiry, roles and scope hold; a deployment of another workspace does not exist."""
        await running.publish([route(model)], [grant(**changes)])

        assert (await running.classify("好")).status_code == status

    async def test_revocation_holds_with_the_next_request(self, running: RunningGateway, model: Path) -> None:
        """A key that is not in the latest snapshot opens nothing."""
        await running.serve(model, "r1")
        assert (await running.classify("好")).status_code == 200

        await running.publish([route(model)], [])

        assert (await running.classify("好")).status_code == 401

    async def test_limits_requests_per_minute(self, running: RunningGateway, model: Path) -> None:
        """Requests past the limit are 429; headers say how many are left and when to come back."""
        await running.serve(model, "r1")
        await running.publish([route(model)], [grant(requests_per_minute=2)])

        replies = [await running.classify("好") for _ in range(3)]

        assert [reply.status_code for reply in replies] == [200, 200, 429]
        assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies] == ["1", "0", "0"]
        assert 58 <= int(replies[2].headers["Retry-After"]) <= 60
        assert replies[2].headers["RateLimit-Policy"] == '"requests";q=2;w=60'
        assert replies[2].json()["error"]["code"] == "rate_limited"

    async def test_lists_what_a_key_may_call(self, running: RunningGateway, model: Path) -> None:
        """GET /v1/models has OpenAI's shape and holds what this key opens, and nothing else."""
        routes = [route(model), route(model, deployment="second"), route(model, deployment="far", workspace="other")]
        await running.publish(routes, [grant(deployments=["reviews", "far"])])

        reply = await running.client.get("/v1/models")

        assert reply.json()["object"] == "list"
        assert [(one["id"], one["object"], one["version"]) for one in reply.json()["data"]] == [("reviews", "model", 1)]


class TestRecords:
    async def test_say_who_asked_what_and_what_came_of_it(self, running: RunningGateway, model: Path) -> None:
        """The public part has version, label and score; text and answer are handed over as private."""
        await running.serve(model, "r1")

        reply = await running.classify("这个很好", headers={"X-Subject": "客户七".encode(), "X-Request-Id": "q1"})

        (entry,) = running.ledger.entries
        assert (entry.kind, entry.action, entry.actor, entry.status) == ("prediction", "predict", "tester", 200)
        assert (entry.subject, entry.request_id, entry.ip) == ("客户七", "q1", "127.0.0.1")
        assert entry.details["label"] == "正面"
        assert entry.details["score_millionths"] == round(reply.json()["data"][0]["score"] * 1_000_000)
        assert {"deployment", "model", "version", "digest", "release", "key", "texts", "tokens"} <= entry.details.keys()
        assert entry.result == reply.content
        assert "这个" not in str(entry.details)
        assert entry.latency_us >= entry.compute_us > 0

    @pytest.mark.parametrize(
        ("user", "header", "subject"),
        [(None, None, "abcdefgh"), ("anna", None, "anna"), ("anna", "bert", "bert")],
    )
    async def test_name_the_subject(
        self, running: RunningGateway, model: Path, user: str | None, header: str | None, subject: str
    ) -> None:
        """X-Subject comes first, then OpenAI's ``user``, then the key's id."""
        await running.serve(model, "r1")

        headers = {"X-Subject": header} if header else None
        await running.classify("好", headers=headers, **({"user": user} if user else {}))

        assert running.ledger.entries[0].subject == subject

    async def test_come_before_the_answer_or_there_is_none(self, running: RunningGateway, model: Path) -> None:
        """A ledger that cannot write turns every answer, good or bad, into 503, and readiness off, until it can."""
        await running.serve(model, "r1")
        running.ledger.is_failing = True

        replies = [await running.classify("好"), await running.classify("")]
        readiness = await running.client.get("/readyz")
        running.ledger.is_failing = False

        assert [reply.status_code for reply in replies] == [503, 503]
        assert {reply.json()["error"]["code"] for reply in replies} == {"ledger_unavailable"}
        assert "正面" not in replies[0].text
        assert readiness.status_code == 503
        assert (await running.classify("好")).status_code == 200

    async def test_a_client_that_leaves_frees_its_place(self, running: RunningGateway, model: Path) -> None:
        """When the connection goes, what was queued for it goes too, and the record says cancelled."""
        await running.publish([route(model)])
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        body = b'{"model": "reviews", "input": ["a", "b"]}'
        head = f"POST /v1/classify HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await until(lambda: running.gateway.report().deployments[0].queued == 2)

        writer.close()
        await writer.wait_closed()

        await until(lambda: len(running.ledger.entries) == 1)
        assert running.gateway.report().deployments[0].queued == 0
        assert running.ledger.entries[0].status == 499
        assert running.gateway.report().deployments[0].requests_total == {"cancelled": 1}


class TestWatch:
    async def test_counts_what_happens(self, running: RunningGateway, model: Path) -> None:
        """Reports and /metrics hold the same counts."""
        await running.serve(model, "r1")
        for text in ("好", "坏", ""):
            await running.classify(text)

        (report,) = running.gateway.report().deployments
        page = (await running.client.get("/metrics")).text

        assert report.requests_total == {"ok": 2, "invalid": 1}
        assert (report.texts_total, report.batches_total) == (2, 2)
        assert sum(report.total_s.counts) == 2
        assert 'inference_requests_total{deployment="reviews",outcome="ok"} 2.0' in page
        assert 'inference_total_seconds_count{deployment="reviews"} 2.0' in page
        assert 'replica_count{deployment="reviews",state="ready"} 1.0' in page
        assert "audit_tree_size 3.0" in page

    async def test_health_says_why_not(self, running: RunningGateway, model: Path) -> None:
        """A gateway without a snapshot lives but has not started; with one it is ready."""
        before = [(await running.client.get(path)).status_code for path in ("/livez", "/startupz", "/readyz")]
        await running.publish([route(model)])
        after = [(await running.client.get(path)).status_code for path in ("/livez", "/startupz", "/readyz")]

        assert before == [200, 503, 503]
        assert after == [200, 200, 200]
