from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from tests.console.furnishing import Furniture, furnish
from tests.e2e.running import RunningPlatform

FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')
DEPLOYMENT = "reviews"


@dataclass(frozen=True)
class Furnished:
    """A platform that runs, with something to look at on every page."""

    platform: RunningPlatform
    furniture: Furniture

    @property
    def url(self) -> str:
        """Where the console is."""
        return str(self.platform.addresses["control"])

    def token(self) -> str:
        """Return a fresh one-time token."""
        return self.platform.run("token").stdout.strip()

    def paths(self) -> dict[str, str]:
        """Return one address per page, by the page's name."""
        it = self.furniture
        return {
            "overview": "/",
            "report": "/report",
            "corpora": "/corpora",
            "corpus": "/corpora/reviews/versions/1",
            "models": "/models",
            "model": "/models/reviews",
            "version": "/models/reviews/versions/3",
            "trained version": "/models/reviews/versions/1",
            "promotions": "/promotions",
            "promotion": f"/promotions/{it.promotion}",
            "pending promotion": f"/promotions/{it.pending}",
            "tasks": "/tasks",
            "task": f"/tasks/{it.task}",
            "failed task": f"/tasks/{it.failed_task}",
            "new task": "/tasks/new?kind=train",
            "schedules": "/schedules",
            "deployments": "/deployments",
            "deployment": f"/deployments/{DEPLOYMENT}",
            "configuration": f"/deployments/{DEPLOYMENT}?tab=configuration",
            "releases": f"/deployments/{DEPLOYMENT}?tab=releases",
            "playground": "/playground",
            "ledger": "/ledger",
            "alerts": "/alerts",
            "keys": "/keys",
        }


class Visitor:
    """Somebody with a browser that runs no scripts: keeps cookies, and sends the token that forms carry."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=20, trust_env=False)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Open a page."""
        return self.http.get(path, headers=headers)

    def page(self, path: str) -> str:
        """Return the HTML of a page that has to be there."""
        response = self.get(path)
        assert response.status_code == 200, response.text
        return response.text

    def post(self, path: str, *, found_at: str = "/", **fields: str | list[str]) -> httpx.Response:
        """Send a form as the page at *found_at* carries it."""
        token = FORM_TOKEN.search(self.get(found_at).text)
        assert token is not None
        return self.http.post(path, data={"form_token": token[1], **fields})

    def sign_in(self, token: str) -> httpx.Response:
        """Sign in with a one-time token."""
        return self.post("/sign-in", found_at="/sign-in", token=token)

    def speak(self, language: str) -> None:
        """Choose a language."""
        assert self.post("/preferences", found_at="/sign-in", language=language).status_code == 303


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    """The platform; tests leave it as useful as they found it."""
    data = tmp_path_factory.mktemp("console") / "data"
    furniture = furnish(data)
    with RunningPlatform(data, {"HANLIN_ALERTS__WEBHOOK_HOSTS": '["hooks.example.com"]'}) as platform:
        platform.deploy(DEPLOYMENT, min_replicas=1, max_replicas=2)
        yield Furnished(platform, furniture)


@pytest.fixture(scope="session")
def admin(furnished: Furnished) -> Iterator[Visitor]:
    """Somebody who has signed in with all roles."""
    visitor = Visitor(furnished.url)
    assert visitor.sign_in(furnished.token()).status_code == 303
    yield visitor
    visitor.http.close()


@pytest.fixture
def guest(furnished: Furnished) -> Iterator[Visitor]:
    """Somebody who has not signed in."""
    visitor = Visitor(furnished.url)
    yield visitor
    visitor.http.close()
