from __future__ import annotations

import re

import pytest
from tests.console.conftest import DEPLOYMENT, Furnished, Visitor
from tests.console.furnishing import SHOWN

INLINE = re.compile(r"<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=\"|javascript:", re.IGNORECASE)


class TestSigningIn:
    def test_pages_ask_for_it(self, guest: Visitor) -> None:
        """Who has no session is led to the sign-in page, and afterwards to where they wanted to go."""
        response = guest.get("/ledger?kind=change")

        assert response.status_code == 303
        assert response.headers["Location"] == "/sign-in?next=%2Fledger%3Fkind%3Dchange"

    def test_parts_of_pages_ask_for_it(self, guest: Visitor) -> None:
        """A page whose session has ended leaves as a whole, instead of swapping a sign-in page into itself."""
        response = guest.get("/tasks", **{"HX-Request": "true"})

        assert (response.status_code, response.headers["HX-Redirect"]) == (204, "/sign-in")

    def test_opening_the_link_does_not_use_the_token_up(self, furnished: Furnished, guest: Visitor) -> None:
        """A preview of the link in a chat changes nothing; the click does."""
        token = furnished.token()
        for _ in range(2):
            assert token in guest.page(f"/sign-in?token={token}")
        response = guest.post("/sign-in", found_at=f"/sign-in?token={token}", token=token, next="/models")

        assert (response.status_code, response.headers["Location"]) == (303, "/models")
        assert "HttpOnly" in response.headers["Set-Cookie"]
        assert "samesite=strict" in response.headers["Set-Cookie"].lower()
        assert guest.get("/models").status_code == 200

    def test_a_token_works_once(self, furnished: Furnished, guest: Visitor) -> None:
        """The second one who comes with it is refused, in words."""
        token = furnished.token()
        assert guest.sign_in(token).status_code == 303
        stranger = Visitor(furnished.url)

        assert stranger.sign_in(token).status_code == 401
        stranger.http.close()

    def test_signing_out_ends_the_session(self, furnished: Furnished, guest: Visitor) -> None:
        """The cookie is worth nothing afterwards, even for who kept it."""
        guest.sign_in(furnished.token())
        kept = dict(guest.http.cookies)
        guest.post("/sign-out")
        guest.http.cookies.update(kept)

        assert guest.get("/").status_code == 303


class TestForms:
    def test_need_the_token_of_their_visitor(self, furnished: Furnished, admin: Visitor) -> None:
        """A form without the token, or with that of somebody else, changes nothing."""
        for token in ("", "0" * 64):
            response = admin.http.post(f"/deployments/{DEPLOYMENT}/delete", data={"form_token": token})
            assert response.status_code == 403
            assert "form_expired" in response.text
        assert furnished.platform.deployment(DEPLOYMENT).state == "ready"

    def test_other_sites_are_refused_whatever_they_send(self, admin: Visitor) -> None:
        """The edge stands before the token."""
        response = admin.http.post("/preferences", data={}, headers={"Origin": "http://evil.example"})

        assert response.status_code == 403

    def test_problems_are_shown_where_they_arose(self, admin: Visitor) -> None:
        """A refused change answers with what is wrong, for the place inside the form."""
        admin.speak("zh")
        page = admin.page(f"/deployments/{DEPLOYMENT}")
        token = re.findall(r'name="form_token" value="(\w+)"', page)[0]
        response = admin.http.post(
            f"/deployments/{DEPLOYMENT}/configuration",
            data={"form_token": token, "min_replicas": "99"},
            headers={"HX-Request": "true"},
        )

        assert response.status_code == 400
        assert "有值超出范围" in response.text
        assert "min_replicas is 99" in response.text
        assert "<html" not in response.text


@pytest.mark.parametrize("language", ["zh", "en"])
class TestPages:
    def test_all_are_there_and_safe(self, furnished: Furnished, admin: Visitor, language: str) -> None:
        """Every page shows; no text from the data is taken for markup, and nothing inline is left for the policy."""
        admin.speak(language)
        for name, path in furnished.paths().items():
            html = admin.page(path)
            assert SHOWN not in html, name
            assert not INLINE.search(html), (name, INLINE.search(html))
            assert "\u202e" not in html, name
            assert f'<html lang="{"zh-CN" if language == "zh" else "en"}"' in html

    def test_all_have_a_title_and_landmarks(self, furnished: Furnished, admin: Visitor, language: str) -> None:
        """One heading of the first rank, one main part, every field with a label, every dialog with a name."""
        admin.speak(language)
        for name, path in furnished.paths().items():
            html = admin.page(path)
            assert len(re.findall(r"<h1[ >]", html)) == 1, name
            assert html.count("<main") == 1, name
            fields = re.findall(r'<(?:input|select|textarea) [^>]*id="([^"]+)"', html)
            assert [field for field in fields if f'for="{field}"' not in html] == [], name
            assert len(set(re.findall(r'\sid="([^"]+)"', html))) == len(re.findall(r'\sid="([^"]+)"', html)), name

    def test_unknown_addresses_say_so(self, admin: Visitor, language: str) -> None:
        """A page that does not exist is a page that says so, in the visitor's language."""
        admin.speak(language)
        for path in (
            "/nowhere",
            "/models/nothing",
            "/tasks/nothing",
            "/deployments/nothing",
            "/models/reviews/versions/99",
        ):
            response = admin.get(path)
            assert response.status_code == 404
            assert ("没有" if language == "zh" else "no") in response.text


class TestRoles:
    def test_nothing_is_offered_that_would_be_refused(self, furnished: Furnished, guest: Visitor) -> None:
        """A viewer sees the figures but no button that changes something, and no ledger."""
        from hanlin.sdk import Calls

        with furnished.platform.control() as client:
            key = client.send(Calls.create_key("a viewer", roles=["viewer"])).key or ""
        port = furnished.url.rpartition(":")[2]
        guest.http.cookies.set(f"hanlin_session_{port}", key)
        page = guest.page(f"/deployments/{DEPLOYMENT}")

        assert 'data-open="scale"' not in page
        assert 'href="/ledger"' not in page
        assert guest.get("/ledger").status_code == 403
        assert guest.post(f"/deployments/{DEPLOYMENT}/rollback", release="1").status_code == 403


class TestStream:
    def test_speaks_of_figures_and_changes(self, admin: Visitor) -> None:
        """One stream per page, named events, not held up by proxies."""
        names = set()
        with admin.http.stream("GET", "/events") as stream:
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            assert stream.headers["X-Accel-Buffering"] == "no"
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    names.add(line.removeprefix("event: "))
                if {"figures", "deployments", "tasks"} <= names:
                    break

        assert {"figures", "deployments", "tasks"} <= names

    def test_is_for_members(self, guest: Visitor) -> None:
        """Who has not signed in hears nothing."""
        assert guest.get("/events").status_code == 303


class TestAddresses:
    def test_hold_what_is_shown(self, admin: Visitor) -> None:
        """A search of the ledger is in its link: fields keep it, and the next page goes on with it."""
        admin.speak("en")
        page = admin.page("/ledger?kind=change&actor=nobody-at-all")

        assert 'value="nobody-at-all"' in page
        assert '<option value="change" selected>' in page
        assert "No record fits" in page

    def test_of_the_api_are_left_to_the_api(self, admin: Visitor) -> None:
        """An unknown path of the API is answered in its dialect, not with a page."""
        response = admin.get("/api/v1/nothing")

        assert response.status_code == 404
        assert response.headers["Content-Type"].startswith("application/problem+json")
