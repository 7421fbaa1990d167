from __future__ import annotations

import httpx
import pytest
from starlette.responses import PlainTextResponse

from hanlin.console.edge import Edge, form_token, host_name, is_form_token


@pytest.fixture
def client() -> httpx.AsyncClient:
    """A client of an edge with nothing behind it but a friendly answer."""
    app = Edge(PlainTextResponse("hello"), hosts=("127.0.0.1", "Console.example", "[::1]"))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8101")


class TestHosts:
    @pytest.mark.parametrize(
        "host", ["127.0.0.1:8101", "127.0.0.1", "console.example", "CONSOLE.EXAMPLE:80", "[::1]:8"]
    )
    async def test_own_names_pass(self, client: httpx.AsyncClient, host: str) -> None:
        """The names of the settings lead to the console, whatever the port and the case."""
        response = await client.get("/", headers={"Host": host})

        assert response.text == "hello"

    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1.evil.example", "localhost", "", "[::2]", "127.0.0.1@e"]
    )
    async def test_other_names_are_refused(self, client: httpx.AsyncClient, host: str) -> None:
        """A name that was bound to our address by somebody else (DNS rebinding) leads nowhere."""
        response = await client.get("/", headers={"Host": host})

        assert response.status_code == 403
        assert "allow-list" in response.text

    def test_a_host_name_has_no_port(self) -> None:
        """Ports are cut off; an address of IPv6 keeps its brackets."""
        assert [host_name(host) for host in ("a:1", "a", "[::1]:80", "[::1]")] == ["a", "a", "[::1]", "[::1]"]


class TestOrigins:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "http://evil.example"},
            {"Origin": "http://127.0.0.1:8102"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ],
    )
    async def test_pages_of_others_change_nothing(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        """A request that changes something and comes from another page is refused before any view runs."""
        response = await client.post("/", headers=headers)

        assert response.status_code == 403

    async def test_own_pages_may_change_things(self, client: httpx.AsyncClient) -> None:
        """Forms of our own pages pass."""
        headers = {"Origin": "http://127.0.0.1:8101", "Sec-Fetch-Site": "same-origin"}
        response = await client.post("/", headers=headers)

        assert response.text == "hello"

    async def test_links_from_elsewhere_may_be_followed(self, client: httpx.AsyncClient) -> None:
        """Looking is free: a link in a mail leads to the page."""
        response = await client.get("/", headers={"Sec-Fetch-Site": "cross-site"})

        assert response.text == "hello"


class TestAnswers:
    async def test_every_answer_is_fenced_in(self, client: httpx.AsyncClient) -> None:
        """No inline script or style, no frames, no guessing of types, nothing kept by caches."""
        headers = (await client.get("/")).headers
        policy = headers["Content-Security-Policy"]

        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"


class TestFormTokens:
    def test_belong_to_one_visitor(self) -> None:
        """The token of one visitor is worth nothing with the cookie of another, or without one."""
        assert is_form_token(form_token("mine"), "mine")
        assert not is_form_token(form_token("mine"), "yours")
        assert not is_form_token(form_token(""), "")
        assert not is_form_token("", "mine")
        assert not is_form_token("ü", "mine")
