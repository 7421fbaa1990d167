"""The management API, over its whole surface: who may do what, how errors look, how lists and health answer."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from tests.control.assembly import assemble, client, issue
from tests.control.ledgers import POLICY, add_version, by

from hanlin.audit import Ledger, LedgerKeys
from hanlin.control import Services, create_app
from hanlin.control.routes.access import context_of
from hanlin.domain import KeyKind, Permission, Role, permissions_of
from hanlin.settings import Layout

GOLDEN = Path(__file__).parents[1] / "golden" / "openapi_operations.json"
OPEN = {("POST", "/api/v1/sessions"), ("GET", "/api/v1/openapi.json"), ("HEAD", "/api/v1/openapi.json")}
ANYBODY_KNOWN = "anybody with a key"
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
PROBLEM = {"type", "title", "status", "detail", "instance", "code", "hint", "param", "request_id"}


@contextmanager
def assembled(folder: Path) -> Iterator[Services]:
    """Give the parts of the management plane, with a real store and a real ledger, and let go of them after."""
    layout = Layout(folder / "data")
    layout.create()
    keys = LedgerKeys.load(layout.secrets)
    with Ledger.open(layout.ledger, "control", keys=keys) as ledger:
        services = assemble(layout.root, ledger, keys)
        yield services
        services.series.close()
        services.store.close()


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """The parts of the management plane."""
    with assembled(tmp_path) as services:
        yield services


@pytest.fixture
def app(services: Services) -> FastAPI:
    """The management API."""
    return create_app(services)


@pytest.fixture
async def admin(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody with every role."""
    async with client(app, roles=Role) as admin:
        yield admin


@pytest.fixture(scope="module")
def shared_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """The management API with a deployment, for many tests that leave it as it is or do not care."""
    with assembled(tmp_path_factory.mktemp("shared")) as services:
        add_version(services.registry)
        services.deployments.create(by("olga"), name="reviews", model="reviews", alias="champion", config={})
        yield create_app(services)


@pytest.fixture
async def visitor(shared_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody with every role at the shared API."""
    async with client(shared_app, roles=Role) as visitor:
        yield visitor


@pytest.fixture
def version(services: Services) -> int:
    """A version of the model ``reviews`` with good evidence."""
    return add_version(services.registry)


@dataclass(frozen=True)
class Operation:
    """One method of one path, and what its route says it asks for."""

    method: str
    path: str
    asks: Permission | str | None

    def allows(self, roles: frozenset[Role]) -> bool:
        """Whether callers with *roles* pass."""
        return self.asks == ANYBODY_KNOWN or self.asks in permissions_of(roles)

    def url(self) -> str:
        """Return an address of the path: of something that does not exist, where it names something."""
        return self.path.replace("{number}", "1").replace("{", "no-").replace("}", "")


def operations(app: FastAPI) -> list[Operation]:
    """Return everything that can be asked of the app."""
    found = []
    for route in iter_route_contexts(app.routes):
        original = route.original_route
        asks = _asked(original.dependant) if isinstance(original, APIRoute) else None
        found += [Operation(method, str(route.path), asks) for method in sorted(route.methods or ())]
    return found


def _asked(dependant: Dependant) -> Permission | str | None:
    for dependency in dependant.dependencies:
        if dependency.call is context_of:
            return ANYBODY_KNOWN
        if permission := getattr(dependency.call, "permission", None):
            return Permission(permission)
    return None


class TestPermissions:
    def test_are_declared_by_every_route(self, shared_app: FastAPI) -> None:
        """No route under /api/v1 is open because somebody forgot to say whom it is for."""
        undeclared = {
            (o.method, o.path) for o in operations(shared_app) if o.path.startswith("/api/v1") and o.asks is None
        }

        assert undeclared == OPEN

    def test_to_read_are_not_enough_to_change(self, shared_app: FastAPI) -> None:
        """What changes something asks for more than to read; only one's own session is everybody's to end."""
        weak = {Permission.READ, Permission.PREDICT, ANYBODY_KNOWN}
        changing = [o for o in operations(shared_app) if o.method not in {"GET", "HEAD"} and o.asks in weak]

        assert [(o.method, o.path) for o in changing] == [("DELETE", "/api/v1/sessions/current")]

    async def test_hold_for_every_route_and_every_caller(self, app: FastAPI, services: Services) -> None:
        """
        Every route, asked by nobody, by each role, and with keys that no longer count or never did, lets pass exactly
        those whom it declares.
        """
        now = datetime.now(UTC)

        def bad_keys() -> dict[str, str]:
            revoked = issue(services, *Role)
            services.keys.revoke(revoked.split("_")[1], now)
            forged = issue(services, *Role)[:-4] + "AAAA"
            return {
                "anonymous": "",
                "revoked": revoked,
                "expired": issue(services, *Role, lasts=timedelta(seconds=-1)),
                "forged": forged,
                "one-time": issue(services, *Role, kind=KeyKind.ONE_TIME),
                "shapeless": "sk-123",
            }

        cells, wrong = 0, []
        unusable = bad_keys()
        async with client(app) as visitor:
            for operation in operations(app):
                if operation.asks is None:
                    continue
                usable = {role.value: issue(services, role) for role in Role}
                for who, key in {**unusable, **usable}.items():
                    headers = {"Authorization": f"Bearer {key}"} if key else {}
                    response = await visitor.request(operation.method, operation.url(), headers=headers, json={})
                    if who in unusable:
                        is_right = (response.status_code, response.json()["code"]) == (401, "invalid_api_key")
                    elif operation.allows(frozenset({Role(who)})):
                        is_right = response.status_code not in {401, 403} and response.status_code < 500
                    else:
                        is_right = (response.status_code, response.json()["code"]) == (403, "forbidden")
                    cells += 1
                    if not is_right:
                        wrong.append((operation, who, response.status_code, response.text[:200]))

        assert wrong == []
        assert cells > 400

    async def test_that_were_missing_are_in_the_ledger(self, app: FastAPI, services: Services) -> None:
        """A change that somebody asked for and may not have is recorded with who, what and why."""
        async with client(app, issue(services, Role.VIEWER, principal="mallory")) as viewer:
            response = await viewer.post("/api/v1/keys", json={"name": "mine"}, headers={"X-Request-Id": "r-1"})
        async with client(app, roles=[Role.AUDITOR]) as auditor:
            found = await auditor.get("/api/v1/audit/records", params={"actor": "mallory"})

        assert response.status_code == 403
        [record] = found.json()["data"]
        assert (record["action"], record["status"], record["request_id"]) == ("refused POST /api/v1/keys", 403, "r-1")
        assert record["details"] == {"code": "forbidden"}


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "path", "content", "status", "code"),
        [
            ("GET", "/api/v1/tasks/no-such", None, 404, "task_not_found"),
            ("GET", "/api/v1/nowhere", None, 404, "path_not_found"),
            ("GET", "/nowhere", None, 404, "path_not_found"),
            ("PUT", "/api/v1/tasks", None, 405, "method_not_allowed"),
            ("POST", "/livez", None, 405, "method_not_allowed"),
            ("POST", "/api/v1/tasks", b"{", 400, "malformed_json"),
            ("POST", "/api/v1/tasks", b"\xff\xfe", 400, "malformed_json"),
            ("POST", "/api/v1/tasks", b"", 400, "invalid_input"),
            ("POST", "/api/v1/tasks", b"[]", 400, "invalid_input"),
            ("POST", "/api/v1/tasks", b'{"kind": 5}', 400, "invalid_input"),
            ("POST", "/api/v1/tasks", b'{"kind": "train", "surprise": 1}', 400, "invalid_input"),
            ("POST", "/api/v1/tasks", b'{"kind": "dream"}', 400, "task_kind_unknown"),
            ("POST", "/api/v1/tasks", b'{"kind": "train"}', 400, "task_params_invalid"),
            ("POST", "/api/v1/keys", b'{"name": "a", "roles": []}', 400, "roles_missing"),
            ("POST", "/api/v1/keys", b'{"name": "a", "roles": ["god"]}', 400, "invalid_input"),
            ("GET", "/api/v1/tasks?limit=0", None, 400, "invalid_input"),
            ("GET", "/api/v1/tasks?limit=501", None, 400, "invalid_input"),
            ("GET", "/api/v1/tasks?limit=many", None, 400, "invalid_input"),
            ("POST", "/api/v1/sessions", b'{"token": "hl_abcdefgh_no"}', 401, "invalid_api_key"),
        ],
    )
    async def test_are_problems_as_rfc_9457_asks(
        self, visitor: httpx.AsyncClient, method: str, path: str, content: bytes | None, status: int, code: str
    ) -> None:
        """Every error says in the same shape what happened, under a stable code, and where to look."""
        headers = {"X-Request-Id": "r-42", "Content-Type": "application/json"}
        response = await visitor.request(method, path, content=content, headers=headers)

        problem = response.json()
        assert response.headers["content-type"] == "application/problem+json"
        assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
        assert problem.keys() == PROBLEM
        assert problem["type"] == f"urn:hanlin:error:{code}"
        assert problem["title"] == code.replace("_", " ")
        assert problem["detail"]
        assert problem["instance"] == path.partition("?")[0]
        assert problem["request_id"] == response.headers["X-Request-Id"] == "r-42"

    async def test_say_which_methods_a_path_has(self, visitor: httpx.AsyncClient) -> None:
        """A 405 comes with the methods that would be right, as RFC 9110 asks."""
        response = await visitor.put("/api/v1/tasks")

        assert response.status_code == 405
        assert set(response.headers["Allow"].split(", ")) == {"GET", "POST"}

    async def test_say_how_to_show_a_key(self, shared_app: FastAPI) -> None:
        """A 401 comes with the scheme that would be right, as RFC 9110 asks."""
        async with client(shared_app) as stranger:
            response = await stranger.get("/api/v1/tasks")

        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")

    async def test_speak_the_language_of_the_caller(self, visitor: httpx.AsyncClient) -> None:
        """Texts are translated, codes and facts are not."""
        response = await visitor.post(
            "/api/v1/tasks", content=b"{", headers={"Accept-Language": "zh-CN", "Content-Type": "application/json"}
        )

        assert response.json()["code"] == "malformed_json"
        assert response.json()["detail"].startswith("请求体不是合法的 JSON")

    async def test_name_what_does_not_exist(self, app: FastAPI, admin: httpx.AsyncClient) -> None:
        """Whatever is asked about a thing that is not there is answered 404 with the noun in the code."""
        bodies: dict[str, Any] = {
            "/models/{name}": {"owner": "a"},
            "/models/{name}/versions/{number}": {"tags": {}},
            "/deployments/{name}/config": {"changes": {}},
            "/deployments/{name}/rollback": {"release": 1},
        }
        nouns = {"corpora": "corpus", "alert-rules": "alert_rule"}
        asked = 0
        for operation in operations(app):
            if "{" not in operation.path:
                continue
            short = operation.path.removeprefix("/api/v1")
            response = await admin.request(
                operation.method, operation.url(), params={"time": "2026-01-01T00:00:00Z"}, json=bodies.get(short, {})
            )
            collection = short.split("/")[1]
            noun = nouns.get(collection, "version" if "/versions/" in short else collection.removesuffix("s"))
            assert (response.status_code, response.json()["code"]) == (404, f"{noun}_not_found"), operation
            asked += 1

        assert asked > 20

    async def test_withhold_what_could_not_be_recorded(
        self, services: Services, app: FastAPI, admin: httpx.AsyncClient
    ) -> None:
        """While the ledger takes nothing, no change happens: 503, to be tried again."""
        services.changes._ledger.close()  # type: ignore[attr-defined]

        response = await admin.post("/api/v1/keys", json={"name": "mine"})
        assert (response.status_code, response.json()["code"]) == (503, "ledger_unavailable")
        assert int(response.headers["Retry-After"]) >= 1
        assert services.store.keys.list(kind=KeyKind.API.value).items == []


class TestHostileInput:
    @pytest.mark.parametrize(
        ("method", "path", "content"),
        [
            ("POST", "/alert-rules", '{"name": "a", "series": "replicas_ready", "threshold": NaN}'),
            ("POST", "/alert-rules", '{"name": "a", "series": "replicas_ready", "threshold": Infinity}'),
            ("POST", "/alert-rules", '{"name": "a", "series": "replicas_ready", "threshold": 1, "for_s": 1e999}'),
            ("POST", "/alert-rules", '{"name": "\\ud800", "series": "replicas_ready", "threshold": 1}'),
            ("POST", "/keys", '{"name": "a", "expires_in_days": NaN}'),
            ("POST", "/keys", '{"name": "a", "expires_in_days": 1e-320}'),
            ("POST", "/keys", '{"name": "a", "requests_per_minute": 1e30}'),
            ("POST", "/keys", '{"name": "\\ud800"}'),
            ("POST", "/tasks", '{"kind": "train", "params": {"model": "a", "corpus": "b", "recipe": {"x": NaN}}}'),
            (
                "POST",
                "/tasks",
                '{"kind": "train", "params": {"model": "a", "corpus": "b", "recipe": {"x": "\\ud800"}}}',
            ),
            ("POST", "/tasks", '{"kind": "\\ud800"}'),
            ("POST", "/tasks", '{"kind": "train", "params": {"\\ud800": 1}}'),
            (
                "POST",
                "/tasks",
                '{"kind": "train", "params": {"model": "a", "corpus": "b", "recipe": {"x": 1' + "0" * 40 + "}}}",
            ),
            ("POST", "/promotions", '{"model": "\\ud800", "version": 1}'),
            ("POST", "/promotions", '{"model": "reviews", "version": 1' + "0" * 40 + "}"),
            ("POST", "/deployments", '{"name": "a", "model": "reviews", "config": {"\\ud800": 1}}'),
            ("POST", "/deployments", '{"name": "a", "model": "reviews", "config": {"device": "\\ud800"}}'),
            ("POST", "/deployments", '{"name": "a", "model": "reviews", "config": {"alias": "\\ud800"}}'),
            ("POST", "/deployments", '{"name": "a", "model": "reviews", "config": {"threads": 1' + "0" * 5000 + "}}"),
            ("POST", "/deployments/reviews/rollback", '{"release": -1' + "0" * 40 + "}"),
            ("POST", "/sessions", '{"token": "\\ud800"}'),
            ("POST", "/sessions", '{"token": "hl_abcdefgh_密"}'),
            ("POST", "/tasks", "[" * 100_000),
            ("GET", "/audit/records?min_latency_ms=inf", ""),
            ("GET", "/audit/records?version=1" + "0" * 40, ""),
            ("GET", "/audit/records?after=%00", ""),
            ("GET", "/audit/records?after=control/x", ""),
            ("GET", "/audit/records?since=2026-01-01T00:00:00", ""),
            ("GET", "/audit/records?since=0001-01-01T00:00:00%2B23:00", ""),
            ("GET", "/audit/records?until=9999-12-31T23:59:59-23:00", ""),
            ("GET", "/series?name=replicas_ready&subject=a&step=inf", ""),
            ("GET", "/series?name=replicas_ready&subject=a&step=1e-320", ""),
            ("GET", "/series?name=replicas_ready&subject=a&since=nan", ""),
            ("GET", "/alert-rules?limit=-5", ""),
            ("GET", "/alert-rules?limit=1" + "0" * 40, ""),
            ("GET", "/tasks?after=%ff%00", ""),
            ("GET", "/deployments/reviews/at?time=0001-01-01T00:00:00%2B23:00", ""),
            ("GET", "/models/%F0%9F%98%80/versions/-1", ""),
            ("GET", "/models/a/versions/1" + "0" * 40, ""),
            ("GET", "/corpora/..%2f..%2fetc/versions/1/rows?split=../../x", ""),
            ("POST", "/uploads?filename=%00.txt", "x"),
            ("POST", "/uploads?filename=a.%E6%96%87", "x"),
            ("POST", "/uploads?filename=a." + "b" * 300, "x"),
        ],
    )
    async def test_is_never_our_fault(self, visitor: httpx.AsyncClient, method: str, path: str, content: str) -> None:
        """Numbers, texts and instants that JSON can hold and we cannot are refused; nothing breaks, then or later."""
        response = await visitor.request(
            method, f"/api/v1{path}", content=content.encode(), headers={"Content-Type": "application/json"}
        )

        assert response.status_code < 500, response.text
        for path_ in ("alert-rules", "keys", "tasks", "deployments", "promotions", "audit/records"):
            again = await visitor.get(f"/api/v1/{path_}")
            assert again.status_code == 200, (path_, again.text)


class TestBodies:
    @pytest.mark.parametrize("is_chunked", [False, True])
    async def test_are_bounded(self, visitor: httpx.AsyncClient, is_chunked: bool) -> None:
        """A body past a mebibyte is 413 before it is read as JSON, whether its length was announced or not."""

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(40):
                yield b" " * 65_536

        content = pieces() if is_chunked else b" " * 2_000_000
        reply = await visitor.post("/api/v1/tasks", content=content, headers={"Content-Type": "application/json"})

        assert (reply.status_code, reply.json()["code"]) == (413, "body_too_large")

    async def test_of_uploads_may_be_longer(self, admin: httpx.AsyncClient) -> None:
        """Files have a limit of their own, from the settings."""
        reply = await admin.post("/api/v1/uploads?filename=a.txt", content=b"x\n" * 1_000_000)

        assert (reply.status_code, reply.json()["size_bytes"]) == (201, 2_000_000)


class TestInstants:
    async def test_without_a_zone_are_utc(self, services: Services, admin: httpx.AsyncClient) -> None:
        """A time that names no zone is UTC, and workers can compare it."""
        body = {"kind": "pull_base", "params": {"ref": "e5-small"}, "run_at": "2026-01-01T08:00:00"}
        task = (await admin.post("/api/v1/tasks", json=body)).json()

        assert services.store.tasks.get(task["id"]).run_at == datetime(2026, 1, 1, 8, tzinfo=UTC)
        claimed = services.queue.claim("worker")
        assert claimed is not None
        assert claimed.id == task["id"]


class TestRequestIds:
    async def test_are_kept(self, visitor: httpx.AsyncClient) -> None:
        """The id that a caller sends comes back, with errors and without."""
        for path in ("/api/v1/tasks", "/api/v1/tasks/no-such", "/livez"):
            response = await visitor.get(path, headers={"X-Request-Id": "caller:1.a_b-c"})
            assert response.headers["X-Request-Id"] == "caller:1.a_b-c"

    @pytest.mark.parametrize("given", ["", "a b", "密", "a" * 129, "a\tb", '"><script>'])
    async def test_are_made_where_none_can_be_kept(self, visitor: httpx.AsyncClient, given: str) -> None:
        """What is not shaped like an id is not repeated; the request gets one of ours."""
        response = await visitor.get("/api/v1/tasks", headers={b"X-Request-Id": given.encode()})

        assert UUID7.fullmatch(response.headers["X-Request-Id"])

    async def test_differ(self, visitor: httpx.AsyncClient) -> None:
        """Two requests are never one."""
        ids = {(await visitor.get("/livez")).headers["X-Request-Id"] for _ in range(20)}

        assert len(ids) == 20


class TestIdempotency:
    BODY: ClassVar = {"kind": "pull_base", "params": {"ref": "e5-small"}}

    async def test_gives_back_the_task_it_made(self, services: Services, admin: httpx.AsyncClient) -> None:
        """Who asks twice under one key gets one task, so that a lost answer can be asked for again."""
        headers = {"Idempotency-Key": "once"}
        first = await admin.post("/api/v1/tasks", json=self.BODY, headers=headers)
        second = await admin.post("/api/v1/tasks", json=self.BODY, headers=headers)

        assert first.status_code == second.status_code == 202
        assert first.json() == second.json()
        assert first.headers["Location"] == f"/api/v1/tasks/{first.json()['id']}"
        assert len(list(services.store.tasks.iter())) == 1

    async def test_does_not_join_different_things(self, app: FastAPI, services: Services) -> None:
        """Other params under the same key are refused; the same key of somebody else is another key."""
        headers = {"Idempotency-Key": "once"}
        async with client(app, issue(services, Role.ENGINEER, principal="alice")) as alice:
            mine = await alice.post("/api/v1/tasks", json=self.BODY, headers=headers)
            other = {"kind": "pull_base", "params": {"ref": "folder:/somewhere"}}
            refused = await alice.post("/api/v1/tasks", json=other, headers=headers)
        async with client(app, issue(services, Role.ENGINEER, principal="bob")) as bob:
            theirs = await bob.post("/api/v1/tasks", json=self.BODY, headers=headers)

        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
        assert theirs.json()["id"] != mine.json()["id"]

    async def test_is_asked_for(self, services: Services, admin: httpx.AsyncClient) -> None:
        """Without a key, asking twice is two tasks."""
        for _ in range(2):
            await admin.post("/api/v1/tasks", json=self.BODY)

        assert len(list(services.store.tasks.iter())) == 2


class TestPaging:
    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 500])
    async def test_returns_everything_once(self, services: Services, admin: httpx.AsyncClient, limit: int) -> None:
        """Page after page, every item comes once and in order, also when the last page is just full."""
        made = [services.queue.submit("pull_base", {"ref": str(n)}, by="a").id for n in range(7)]
        seen, after = [], None
        for _ in range(9):
            page = (
                await admin.get("/api/v1/tasks", params={"limit": limit, **({"after": after} if after else {})})
            ).json()
            assert len(page["data"]) <= limit
            assert page["has_more"] == (page["next_cursor"] is not None)
            seen += [task["id"] for task in page["data"]]
            if (after := page["next_cursor"]) is None:
                break

        assert seen == sorted(made, reverse=True)

    async def test_is_not_confused_by_what_comes_meanwhile(self, services: Services, admin: httpx.AsyncClient) -> None:
        """Tasks that are added between two pages neither repeat nor hide the older ones."""
        made = [services.queue.submit("pull_base", {"ref": str(n)}, by="a").id for n in range(4)]
        first = (await admin.get("/api/v1/tasks", params={"limit": 2})).json()
        services.queue.submit("pull_base", {"ref": "new"}, by="a")
        rest = (await admin.get("/api/v1/tasks", params={"limit": 10, "after": first["next_cursor"]})).json()

        assert [task["id"] for task in first["data"] + rest["data"]] == sorted(made, reverse=True)

    @pytest.mark.parametrize("path", ["models", "deployments", "keys", "schedules", "alert-rules", "promotions"])
    async def test_is_the_same_for_every_list(self, services: Services, admin: httpx.AsyncClient, path: str) -> None:
        """Every list takes limit and after, and says where it goes on."""
        for name in ("a", "b", "c"):
            number = add_version(services.registry, name)
            made = {
                "deployments": {"name": name, "model": name},
                "keys": {"name": name},
                "schedules": {"kind": "pull_base", "params": {"ref": name}, "cron": "0 3 * * *"},
                "alert-rules": {"name": name, "series": "replicas_ready", "threshold": 1},
                "promotions": {"model": name, "version": number, "policy": POLICY},
            }
            if path in made:
                assert (await admin.post(f"/api/v1/{path}", json=made[path])).status_code == 201
        first = (await admin.get(f"/api/v1/{path}", params={"limit": 2})).json()
        second = (await admin.get(f"/api/v1/{path}", params={"limit": 2, "after": first["next_cursor"]})).json()

        assert (len(first["data"]), first["has_more"]) == (2, True)
        assert (len(second["data"]), second["has_more"], second["next_cursor"]) == (1, False, None)
        assert second["data"][0] not in first["data"]


class TestConfiguration:
    async def test_compares_what_was_read(self, admin: httpx.AsyncClient, version: int) -> None:
        """If-Match with the ETag of a reading lets the change pass once, then answers 412."""
        await admin.post("/api/v1/deployments", json={"name": "reviews", "model": "reviews"})
        etag = (await admin.get("/api/v1/deployments/reviews")).headers["ETag"]
        change = {"changes": {"queue_limit": 64}}
        path, headers = "/api/v1/deployments/reviews/config", {"If-Match": etag}
        first = await admin.patch(path, json=change, headers=headers)
        second = await admin.patch(path, json=change, headers=headers)

        assert (first.status_code, first.json()["deployment"]["release"]) == (200, 2)
        assert (second.status_code, second.json()["code"]) == (412, "precondition_failed")

    async def test_says_what_a_change_would_do(
        self, services: Services, admin: httpx.AsyncClient, version: int
    ) -> None:
        """A dry run names each change and whether replicas restart, and changes nothing."""
        made = await admin.post("/api/v1/deployments", json={"name": "reviews", "model": "reviews"})
        body = {"changes": {"threads": 2, "queue_limit": 512}}
        plan = await admin.patch("/api/v1/deployments/reviews/config?dry_run=true", json=body)

        assert plan.json() == {"changes": {"threads": [1, 2]}, "restarts_replicas": True, "release": 2}
        assert (await admin.get("/api/v1/deployments/reviews")).json() == made.json()

    @pytest.mark.parametrize("changes", [{"nothing": 1}, {"threads": 0}, {"model": "other"}, {"alias": 5}])
    @pytest.mark.parametrize("query", ["", "?dry_run=true"])
    async def test_refuses_dry_what_it_would_refuse(
        self, admin: httpx.AsyncClient, version: int, changes: dict[str, Any], query: str
    ) -> None:
        """A dry run promises nothing that the change itself would not keep."""
        await admin.post("/api/v1/deployments", json={"name": "reviews", "model": "reviews"})
        response = await admin.patch(f"/api/v1/deployments/reviews/config{query}", json={"changes": changes})

        assert response.status_code == 400
        assert response.json()["code"] in {"config_unknown_item", "config_invalid"}
        assert response.json()["param"] == next(iter(changes))


class TestPromotionsOverTheApi:
    async def test_need_two_people(self, app: FastAPI, services: Services, version: int) -> None:
        """An engineer who is also a validator asks, and somebody else approves."""
        roles = [Role.ENGINEER, Role.VALIDATOR]
        async with client(app, issue(services, *roles, principal="alice")) as alice:
            body = {"model": "reviews", "version": version, "policy": POLICY}
            asked = (await alice.post("/api/v1/promotions", json=body)).json()
            own = await alice.post(f"/api/v1/promotions/{asked['id']}/approve", json={})
        async with client(app, issue(services, *roles, principal="bob")) as bob:
            approved = await bob.post(f"/api/v1/promotions/{asked['id']}/approve", json={"reason": "good"})

        assert asked["state"] == "pending"
        assert (own.status_code, own.json()["code"]) == (403, "four_eyes")
        assert (approved.json()["state"], approved.json()["decided_by"]) == ("approved", "bob")


class TestSessions:
    async def test_are_had_for_a_token_once(self, app: FastAPI, services: Services) -> None:
        """A one-time token opens one session with its roles; a second use is refused."""
        token = issue(services, Role.AUDITOR, principal="audrey", kind=KeyKind.ONE_TIME)
        async with client(app) as visitor:
            opened = await visitor.post("/api/v1/sessions", json={"token": token})
            again = await visitor.post("/api/v1/sessions", json={"token": token})
        async with client(app, opened.json()["token"]) as audrey:
            me = await audrey.get("/api/v1/sessions/current")
            left = await audrey.delete("/api/v1/sessions/current")
            after = await audrey.get("/api/v1/sessions/current")

        assert opened.status_code == 201
        assert (again.status_code, again.json()["code"]) == (401, "invalid_api_key")
        assert (me.json()["principal"], me.json()["roles"], me.json()["token"]) == ("audrey", ["auditor"], None)
        assert (left.status_code, after.status_code) == (204, 401)

    async def test_keys_are_shown_once(self, services: Services, admin: httpx.AsyncClient) -> None:
        """The secret of a key is in the answer to its creation, and nowhere after."""
        made = (await admin.post("/api/v1/keys", json={"name": "batch"})).json()
        [listed] = (await admin.get("/api/v1/keys")).json()["data"]
        works = services.keys.check(made["key"], datetime.now(UTC))
        revoked = (await admin.delete(f"/api/v1/keys/{made['id']}")).json()

        assert works.id == made["id"]
        assert listed == {**made, "key": None}
        assert (revoked["key"], revoked["revoked_at"] is None) == (None, False)
        assert made["key"] not in (await admin.get("/api/v1/audit/records")).text


class TestHealth:
    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz", "/metrics"])
    async def test_needs_no_key(self, shared_app: FastAPI, path: str) -> None:
        """Who watches over the process asks without a key."""
        async with client(shared_app) as stranger:
            assert (await stranger.get(path)).status_code == 200

    async def test_shows_the_metrics_as_text(self, shared_app: FastAPI) -> None:
        """Prometheus reads the text format."""
        async with client(shared_app) as stranger:
            response = await stranger.get("/metrics")

        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert response.text == "hanlin_up 1\n"

    async def test_is_alive_but_not_ready_without_a_ledger(self, services: Services) -> None:
        """A ledger that takes nothing makes the process not ready; restarting it would not help, so it is alive."""
        app = create_app(replace(services, ledger_failed=lambda: True))
        async with client(app) as stranger:
            ready = await stranger.get("/readyz")

            assert (ready.status_code, ready.json()["code"]) == (503, "ledger_unavailable")
            assert (await stranger.get("/startupz")).status_code == 503
            assert (await stranger.get("/livez")).status_code == 200


class TestEvents:
    async def test_begin_with_what_is(self, services: Services, admin: httpx.AsyncClient, version: int) -> None:
        """A stream opens with an overview and the recent tasks, so that a page needs no second request."""
        services.deployments.create(by("olga"), name="reviews", model="reviews", alias="champion", config={})
        task = services.queue.submit("pull_base", {"ref": "e5-small"}, by="a")
        running = create_app(replace(services, is_stopping=iter([False, True]).__next__))
        async with client(running, admin.headers["Authorization"].removeprefix("Bearer ")) as visitor:
            response = await visitor.get("/api/v1/events")

        overview, one = response.text.strip().split("\n\n")
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["X-Accel-Buffering"] == "no"
        assert overview.startswith("event: overview\ndata: ")
        assert json.loads(overview.partition("data: ")[2])["deployments"][0]["state"] == "waiting"
        assert one.startswith("event: task\ndata: ")
        assert json.loads(one.partition("data: ")[2])["id"] == task.id


def test_golden_operations(shared_app: FastAPI) -> None:
    """What clients were built on stays: paths, methods, operation ids, and whom each is for."""
    asked = {(o.method, o.path): o.asks for o in operations(shared_app)}
    found = [
        {
            "method": method.upper(),
            "path": path,
            "operation_id": operation["operationId"],
            "asks": asked[method.upper(), path],
        }
        for path, methods in sorted(shared_app.openapi()["paths"].items())
        for method, operation in sorted(methods.items())
    ]
    if os.environ.get("HANLIN_GOLDEN") == "rewrite":
        GOLDEN.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")

    assert found == json.loads(GOLDEN.read_text(encoding="utf-8"))
