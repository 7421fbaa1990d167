from __future__ import annotations

import re
from pathlib import Path

import pytest

import hanlin.console
from hanlin.console.i18n import NAMES, Catalogue, catalogue, choose_language
from hanlin.domain import CONFIG_ITEMS, MissedRuns, Permission, PromotionState, ReplicaState, Role, TaskState
from hanlin.monitoring import SERIES_NAMES

CONSOLE = Path(hanlin.console.__file__).parent
TEXT = re.compile(r"""(?:\b_|visit\.text)\(\s*(?:"([^"]+)"|'([^']+)')""")
GROUP = re.compile(r"""\bword\("(\w+)\"""")
NOTICE = re.compile(r"""visit\.go\([^,\n]+, "(\w+)\"""")


def sources() -> dict[str, str]:
    """Return every file that may hold a text to be translated."""
    files = [*CONSOLE.rglob("*.html"), *CONSOLE.rglob("*.py")]
    return {file.name: file.read_text(encoding="utf-8") for file in files}


class TestCatalogues:
    def test_every_text_has_a_chinese_one(self) -> None:
        """A text that a template or a view shows is in the catalogue, and the catalogue holds no others."""
        used = {first or second for source in sources().values() for first, second in TEXT.findall(source)}

        assert used == set(catalogue("zh").texts)

    def test_braces_are_the_same_in_both_languages(self) -> None:
        """What is put into a text is put into its translation too."""
        for english, chinese in catalogue("zh").texts.items():
            assert sorted(re.findall(r"{(\w+)}", english)) == sorted(re.findall(r"{(\w+)}", chinese)), english

    def test_both_know_the_same_words(self) -> None:
        """A word of one language has one in the other; both hold the same groups in the same order."""
        zh, en = catalogue("zh").words, catalogue("en").words

        assert list(zh) == list(en)
        assert {group: list(words) for group, words in zh.items()} == {g: list(w) for g, w in en.items()}

    def test_every_group_that_is_asked_for_exists(self) -> None:
        """A misspelt group would show bare names."""
        used = {group for source in sources().values() for group in GROUP.findall(source)}

        assert used <= set(catalogue("zh").words)

    def test_every_notice_has_words(self) -> None:
        """What a view says after a change is known to the catalogue."""
        used = {code for source in sources().values() for code in NOTICE.findall(source)}

        assert used <= set(catalogue("zh").words["notice"])

    @pytest.mark.parametrize(
        ("group", "names"),
        [
            ("state", [*TaskState, *ReplicaState, *PromotionState, "updating", "degraded", "waiting"]),
            ("role", list(Role)),
            ("measure", sorted(SERIES_NAMES)),
            ("config", [item.name for item in CONFIG_ITEMS]),
            ("config_meaning", [item.name for item in CONFIG_ITEMS]),
            ("missed_runs", list(MissedRuns)),
        ],
    )
    def test_names_of_the_domain_have_words(self, group: str, names: list[str]) -> None:
        """States, roles, figures and config items are never shown as bare names."""
        assert [name for name in names if not catalogue("zh").knows(group, name)] == []

    def test_permissions_in_templates_exist(self) -> None:
        """may("…") names permissions of the domain; a misspelt one would hide a button from everybody."""
        used = {name for source in sources().values() for name in re.findall(r"""\bmay\("(\w+)"\)""", source)}

        assert used <= set(Permission)


class TestCatalogue:
    def test_unknown_words_stay_readable(self) -> None:
        """What we have no word for is shown as a name would be read; paths and the like are left alone."""
        words = Catalogue("en", {}, {"kind": {"train": "Training"}})

        assert words.word("kind", "train") == "Training"
        assert words.word("kind", "pull_base") == "pull base"
        assert words.word("kind", "POST /api/v1/some_thing") == "POST /api/v1/some_thing"

    def test_orders_as_its_words_are_ordered(self) -> None:
        """Figures come in the order of the catalogue, unknown ones last."""
        words = Catalogue("en", {}, {"split": {"train": "Training", "test": "Test"}})

        assert words.ordered("split", {"other": 1, "test": 2, "train": 3}) == [("train", 3), ("test", 2), ("other", 1)]


class TestChooseLanguage:
    @pytest.mark.parametrize(
        ("wish", "accepted", "chosen"),
        [
            ("en", "zh", "en"),
            (None, "en-GB,en;q=0.9,zh;q=0.8", "en"),
            (None, "fr, zh-CN;q=0.5, en;q=0.4", "zh"),
            (None, "en;q=0, zh;q=0.1", "zh"),
            ("xx", "", "zh"),
            (None, "en;q=nonsense", "en"),
        ],
    )
    def test_prefers_the_wish_then_the_browser(self, wish: str | None, accepted: str, chosen: str) -> None:
        """The visitor's choice wins, then what the browser accepts, then Chinese."""
        assert choose_language(wish, accepted) == chosen
        assert chosen in NAMES
