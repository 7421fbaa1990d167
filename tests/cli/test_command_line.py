from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import hanlin
from hanlin.cli.app import app
from hanlin.domain import InvalidInputError, NotFoundError, PlatformError

MEANINGS: dict[tuple[str, ...], str] = {}
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and group."""
    MEANINGS[path] = group.help or ""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


COMMANDS = list(commands(typer.main.get_command(app)))


class TestHelp:
    def test_covers_the_whole_platform(self) -> None:
        """There is a command for every part of the job."""
        names = {" ".join(words) for words in COMMANDS}

        assert {"up", "demo", "status", "train", "compress", "evaluate", "publish", "deploy", "predict"} <= names
        assert {"corpus import", "base pull", "model show", "deployment config", "keys create", "audit verify"} <= names

    @pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
    def test_every_command_explains_itself(self, words: tuple[str, ...]) -> None:
        """`--help` of every command says what it does and how it is called, without a platform."""
        result = CliRunner().invoke(app, [*words, "--help"])

        shown = " ".join(result.output.split())
        assert result.exit_code == 0
        assert " ".join(("Usage: hanlin", *words)) in shown
        assert len(MEANINGS[words]) > 5
        assert " ".join(MEANINGS[words].split()) in shown

    @pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
    def test_an_unknown_option_is_refused(self, words: tuple[str, ...]) -> None:
        """A misspelt option is an error with exit status 2, never ignored."""
        result = CliRunner().invoke(app, [*words, "--no-such-option"])

        assert result.exit_code == 2
        assert "--no-such-option" in result.output


class TestErrors:
    @pytest.mark.parametrize(
        "words",
        [
            ["status"],
            ["predict", "reviews", "好"],
            ["task", "run", "evaluate"],
            ["audit", "search"],
        ],
        ids=" ".join,
    )
    def test_without_a_platform_says_how_to_start_one(self, tmp_path: Path, words: list[str]) -> None:
        """Any command that needs a platform names the folder where none runs, and the way out (``not_running``)."""
        done = hanlin_command("--data", str(tmp_path), *words)

        assert (done.returncode, done.stdout) == (1, "")
        assert f"error [not_running]: no platform is running on {tmp_path}" in done.stderr
        assert "hanlin up" in done.stderr
        assert "Traceback" not in done.stderr
        assert list(tmp_path.iterdir()) == []

    def test_a_platform_that_is_gone_is_unreachable(self, tmp_path: Path) -> None:
        """An address where nobody answers is named (``unreachable``)."""
        done = hanlin_command("--data", str(tmp_path), "--url", "http://127.0.0.1:1", "--token", "x", "status")

        assert done.returncode == 1
        assert "error [unreachable]: http://127.0.0.1:1" in done.stderr

    def test_without_a_credential_says_so(self, tmp_path: Path) -> None:
        """With an address but no key, nothing is sent (``invalid_api_key``)."""
        done = hanlin_command("--data", str(tmp_path), "--url", "http://127.0.0.1:1", "status")

        assert done.returncode == 1
        assert "error [invalid_api_key]" in done.stderr
        assert "--token" in done.stderr

    @pytest.mark.parametrize("words", [["corpus", "import", "reviews"], ["demo", "--corpus"]], ids=" ".join)
    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path, words: list[str]) -> None:
        """A missing file is reported before anything else is begun (``corpus_file_missing``)."""
        error = failing("--data", str(tmp_path / "data"), *words, str(tmp_path / "没有.csv"))

        assert isinstance(error, NotFoundError)
        assert error.code == "corpus_file_missing"
        assert "没有.csv" in error.message
        assert not (tmp_path / "data").exists()

    def test_an_import_of_nothing_is_refused(self, tmp_path: Path) -> None:
        """Without a file or a source there is nothing to import (``corpus_source_missing``)."""
        error = failing("--data", str(tmp_path), "corpus", "import", "reviews")

        assert error.code == "corpus_source_missing"
        assert "--source" in error.hint

    @pytest.mark.parametrize(
        "words",
        [
            ["train", "m", "c", "--set", "epochs"],
            ["deploy", "d", "m", "--set", "min_replicas:2"],
            ["deployment", "config", "d", "max_batch"],
            ["task", "run", "train", "model"],
            ["schedule", "add", "train", "0 3 * * 1", "model"],
            ["model", "tag", "m", "1", "stage"],
            ["model", "update", "m", "--tag", "stage"],
            ["audit", "search", "label"],
        ],
        ids=" ".join,
    )
    def test_an_item_without_a_value_is_refused(self, tmp_path: Path, words: list[str]) -> None:
        """What should be ITEM=VALUE and is not is quoted, before anything is sent (``option_invalid``)."""
        error = failing("--data", str(tmp_path), "--url", "http://127.0.0.1:1", "--token", "x", *words)

        assert isinstance(error, InvalidInputError)
        assert error.code == "option_invalid"
        assert "KEY=VALUE" in error.message

    def test_no_ledger_is_an_error(self, tmp_path: Path) -> None:
        """Verifying a folder that has no ledger does not pass for a good result (``ledger_not_found``)."""
        assert failing("--data", str(tmp_path), "audit", "verify").code == "ledger_not_found"


class TestLanguage:
    @pytest.mark.parametrize(
        ("options", "environment", "is_chinese"),
        [
            (["--language", "zh"], {"LANG": "en_US.UTF-8"}, True),
            (["--language", "en"], {"LANG": "zh_CN.UTF-8"}, False),
            ([], {"LANG": "zh_CN.UTF-8"}, True),
            ([], {"LANG": "en_US.UTF-8"}, False),
            ([], {"LANG": "C"}, False),
            ([], {"HANLIN_LANGUAGE": "zh", "LANG": "en_US.UTF-8"}, True),
            (["--language", "en"], {"HANLIN_LANGUAGE": "zh"}, False),
        ],
    )
    def test_follows_the_option_then_the_setting_then_the_system(
        self, tmp_path: Path, options: list[str], environment: dict[str, str], is_chinese: bool
    ) -> None:
        """Messages are Chinese or English: as asked for on the command line, else as set, else as the system is."""
        done = hanlin_command("--data", str(tmp_path), *options, "status", **environment)

        assert ("提示: " if is_chinese else "hint: ") in done.stderr
        assert bool(CHINESE.search(done.stderr)) is is_chinese


class TestVersion:
    def test_is_one_line(self) -> None:
        """`hanlin --version` prints name and version, and nothing is started."""
        done = hanlin_command("--version")

        assert (done.returncode, done.stdout, done.stderr) == (0, f"hanlin {hanlin.__version__}\n", "")

    def test_no_command_is_a_request_for_help(self) -> None:
        """`hanlin` alone shows the commands."""
        result = CliRunner().invoke(app, [])

        assert "Commands" in result.output
        assert "demo" in result.output


def failing(*words: str) -> PlatformError:
    """Run a command in this process and return the error that it ends in."""
    error = CliRunner().invoke(app, list(words)).exception
    assert isinstance(error, PlatformError), error
    return error


def hanlin_command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `hanlin` as a user does, with no variables of ours but these."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("HANLIN_", "LANG", "LC_"))}
    command = [sys.executable, "-m", "hanlin.cli", *words]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, encoding="utf-8", timeout=60,
        env=others | {"PYTHONUTF8": "1"} | environment,
    )  # fmt: skip
