"""What people do, in a real browser; and a look at every page in both languages."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright
from tests.console.conftest import DEPLOYMENT, Furnished
from tests.e2e.running import until

pytestmark = pytest.mark.browser
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One headless Chromium for all journeys."""
    if not Path(CHROMIUM).is_file() and os.environ.get("HANLIN_REQUIRE_BROWSER") != "1":
        pytest.skip(f"there is no {CHROMIUM}; HANLIN_REQUIRE_BROWSER=1 makes this an error")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        except Error as error:
            if os.environ.get("HANLIN_REQUIRE_BROWSER") == "1":
                raise
            pytest.skip(f"Chromium does not start: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(browser: Browser, furnished: Furnished) -> Iterator[BrowserContext]:
    """Somebody who has signed in by the link that `hanlin up` prints."""
    context = browser.new_context(base_url=furnished.url, locale="en-GB", viewport={"width": 1440, "height": 900})
    context.set_default_timeout(10_000)
    page = context.new_page()
    printed = re.search(r"http://\S+/sign-in\?token=\S+", furnished.platform.output())
    assert printed is not None
    page.goto(printed[0])
    assert page.url == f"{furnished.url}/sign-in"  # the token does not stay in the address bar
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{furnished.url}/")
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page that fails the test for anything a developer would see in red."""
    page = context.new_page()
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    yield page
    page.close()
    expected = re.compile(r"the server responded with a status of 4\d\d")
    assert [complaint for complaint in complaints if not expected.search(complaint)] == []


class TestLooks:
    @pytest.mark.parametrize("language", ["zh", "en"])
    def test_every_page(self, furnished: Furnished, page: Page, language: str, tmp_path: Path) -> None:
        """Every page draws without an error, without a violation of its policy, and without running what is data."""
        port = furnished.url.rpartition(":")[2]
        page.context.add_cookies([{"name": f"hanlin_language_{port}", "value": language, "url": furnished.url}])
        folder = Path(os.environ.get("HANLIN_SCREENSHOTS", tmp_path))
        for name, path in furnished.paths().items():
            page.goto(path)
            expect(page.locator("#stream")).to_have_attribute("data-state", "live")
            charts = page.locator("[data-chart]")
            expect(page.locator("[data-chart] canvas")).to_have_count(charts.count())
            overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            page.screenshot(path=folder / f"{name.replace(' ', '-')}.{language}.png", full_page=True)
            assert page.title() != "pwned", name
            assert page.locator("img[src='x']").count() == 0, name
            assert overflow <= 0, name

    def test_dark_theme(self, page: Page) -> None:
        """The theme is the visitor's own and stays."""
        page.goto("/")
        page.locator("button[name=theme]").click()
        expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
        page.goto("/models")
        expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
        page.locator("button[name=theme]").click()
        expect(page.locator("html")).to_have_attribute("data-bs-theme", "light")


class TestJourneys:
    def test_ask_and_find_it_in_the_ledger(self, page: Page) -> None:
        """An answer shows label, timing and request id; the id leads to its record; the ledger is intact."""
        page.goto("/playground")
        page.locator("#text").fill("很好，非常喜欢")
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("#answer .verdict")).to_contain_text("正面")
        expect(page.locator("#answer pre").first).to_contain_text("/v1/classify")

        page.locator("#answer a[href^='/ledger?request_id=']").click()
        page.locator("tbody a").first.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Prediction")
        expect(page.locator("pre").first).to_contain_text("非常喜欢")

        page.goto("/ledger")
        page.get_by_role("button", name="Verify the ledger").click()
        expect(page.locator("#verification")).to_contain_text("The ledger is intact")

    def test_problems_are_told(self, page: Page) -> None:
        """A text that the model cannot take is answered with what to do about it."""
        page.goto("/playground")
        page.locator("#text").fill("好" * 5000)
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("#answer .problem")).to_contain_text("text_too_long")

    def test_scale_configure_and_roll_back(self, page: Page) -> None:
        """A plan says what would change; a release changes it while requests go on; an older one comes back."""
        page.goto(f"/deployments/{DEPLOYMENT}")
        page.get_by_role("button", name="Scale").click()
        page.locator("#scale-max_replicas").fill("3")
        page.locator("#scale button[type=submit]").click()
        expect(page.locator(".notice")).to_contain_text("is in force")

        page.goto(f"/deployments/{DEPLOYMENT}?tab=configuration")
        page.locator("#max_batch_tokens").fill("1024")
        page.get_by_role("button", name="Review the change").click()
        expect(page.locator("#plan-answer")).to_contain_text("without a restart")
        page.locator("#plan-answer button[type=submit]").click()
        expect(page.locator(".notice")).to_contain_text("is in force")
        expect(page.locator("tbody tr").first).to_contain_text("Tokens per batch 512 → 1024")

        page.locator("[data-open=rollback-1]").click()
        page.locator("#rollback-1 button[type=submit]").click()
        expect(page.locator(".notice")).to_contain_text("Release 1 is back")

    def test_a_second_person_approves(self, furnished: Furnished, page: Page) -> None:
        """What somebody else asked for is approved, and the alias moves."""
        page.goto(f"/promotions/{furnished.furniture.pending}")
        page.get_by_role("button", name="Approve").first.click()
        page.locator("#reason-approve").fill("measured twice")
        page.locator("#approve button[type=submit]").click()
        expect(page.locator(".notice")).to_contain_text("the alias has moved")
        page.goto("/models/reviews")
        expect(page.get_by_role("heading", level=1)).to_contain_text("candidate → v2")

    def test_a_secret_is_shown_once(self, page: Page) -> None:
        """A new key shows its secret and works; afterwards the list has its name only. It can be revoked."""
        page.goto("/keys")
        page.get_by_role("button", name="New key").click()
        page.locator("#name").fill("billing")
        page.locator("#new-key button[type=submit]").click()
        secret = page.locator(".secret code").inner_text().strip()
        assert secret.startswith("hl_")

        page.get_by_role("link", name="Done, I have copied it").click()
        expect(page.locator("main")).not_to_contain_text(secret)
        row = page.locator("tr", has_text="billing")
        row.locator("[data-open]").click()
        page.locator("dialog[open] button[type=submit]").click()
        expect(page.locator("tr", has_text="billing")).to_contain_text("revoked")

    def test_text_comes_in_and_the_page_follows(self, page: Page, tmp_path: Path) -> None:
        """An import is watched without loading the page again, and leads to the profile of what came."""
        rows = "".join(f"很好的服务{n},好\n糟糕的体验{n},坏\n" for n in range(60))
        (tmp_path / "mini.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
        page.goto("/corpora")
        page.get_by_role("button", name="Import text").click()
        page.locator("#corpus").fill("mini")
        page.locator("#file").set_input_files(tmp_path / "mini.csv")
        page.locator("#import button[type=submit]").click()
        page.wait_for_url("**/tasks/*")
        page.locator("a", has_text="mini@1").click(timeout=30_000)
        expect(page.locator(".stats")).to_contain_text("120")

    def test_rules_channels_and_schedules(self, page: Page) -> None:
        """What operators keep is made and removed in dialogs."""
        page.goto("/alerts")
        page.get_by_role("button", name="New channel").click()
        page.locator("#channel-name").fill("pager")
        page.locator("#url").fill("https://hooks.example.com/a")
        page.locator("#new-channel button[type=submit]").click()
        page.get_by_role("link", name="Done, I have copied it").click()
        page.get_by_role("button", name="New rule").click()
        page.locator("#rule-name").fill("slow answers")
        page.locator("#new-rule button[type=submit]").click()
        expect(page.locator("main")).to_contain_text("slow answers")
        page.locator("tr", has_text="slow answers").locator("[data-open]").click()
        page.locator("dialog[open] button[type=submit]").click()
        expect(page.locator(".notice")).to_contain_text("The rule was removed")

        page.goto("/schedules?kind=evaluate")
        page.locator("[name='param.model']").fill("reviews")
        page.get_by_role("button", name="Create the schedule").click()
        expect(page.locator("tbody")).to_contain_text("0 3 * * *")

    def test_charts_grow(self, page: Page) -> None:
        """The overview follows the stream: numbers and charts move without the page being loaded again."""
        page.goto("/")
        count = "[...drawn.values()].reduce((all, { spec }) => all + (spec.lines?.[0].points.length ?? 0), 0)"
        before = page.evaluate(count)
        until(lambda: page.evaluate(count) > before + 5, 10, "the charts have grown")
