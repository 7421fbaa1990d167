from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from hanlin.domain import ConflictError
from hanlin.settings import Layout, Settings

ROOT = Path(__file__).parent.parent.parent


class TestSettings:
    def test_the_environment_name_is_the_path(self) -> None:
        """A setting is reached by its path in the tree; its neighbours keep their defaults."""
        read = settings_of(
            HANLIN_GATEWAY__PORT="9000",
            HANLIN_WORKER__SLOTS="3",
            HANLIN_LANGUAGE="zh",
            HANLIN_HAS_TLS_IN_FRONT="true",
            HANLIN_ALERTS__WEBHOOK_HOSTS='["hooks.example:8443"]',
        )

        assert (read["gateway"]["port"], read["gateway"]["host"]) == (9000, "127.0.0.1")
        assert (read["worker"]["slots"], read["worker"]["niceness"]) == (3, 10)
        assert (read["language"], read["has_tls_in_front"]) == ("zh", True)
        assert read["alerts"]["webhook_hosts"] == ["hooks.example:8443"]

    def test_other_variables_mean_nothing(self) -> None:
        """Variables of the same prefix that are no settings, such as the command line's, are let pass."""
        assert settings_of(HANLIN_URL="http://127.0.0.1:1", HANLIN_TOKEN="x") == settings_of()

    def test_defaults_are_safe(self) -> None:
        """Without any setting: loopback only, no webhooks anywhere, and nobody approves their own promotion."""
        read = settings_of()

        assert read["gateway"]["host"] == read["control"]["host"] == "127.0.0.1"
        assert not read["has_tls_in_front"]
        assert not read["control"]["may_approve_itself"]
        assert read["alerts"]["webhook_hosts"] == []

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("HANLIN_GATEWAY__PORT", "70000"),
            ("HANLIN_GATEWAY__PORT", "http"),
            ("HANLIN_GATEWAY__PROT", "9000"),
            ("HANLIN_WORKER__SLOTS", "0"),
            ("HANLIN_WORKER__CHECKPOINT_S", "-1"),
            ("HANLIN_HAS_TLS_IN_FRONT", "perhaps"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_by_name(self, name: str, value: str) -> None:
        """A value out of bounds, of another kind, or for a misspelt setting of a section is refused, naming it."""
        done = run_settings({name: value})

        assert done.returncode != 0
        assert "ValidationError" in done.stderr
        assert name.removeprefix("HANLIN_").lower().replace("__", ".") in done.stderr

    def test_nothing_changes_them_later(self) -> None:
        """The tree is frozen: what a process read when it started holds until it ends."""
        settings = Settings()

        for thing, name in ((settings, "language"), (settings.gateway, "port")):
            with pytest.raises(ValidationError):
                setattr(thing, name, "other")

    def test_the_page_names_every_setting(self) -> None:
        """docs/settings.md is what the code says: every variable with its default, none left out."""
        page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `(HANLIN_\w+)` \| `([^`]*)` \| (.+) \|$", page, re.MULTILINE)
        written = {name: default for name, default, _ in rows}

        assert written == dict(leaves(Settings(), "HANLIN_"))
        assert all(meaning.strip() for *_, meaning in rows)


class TestLayout:
    def test_everything_lies_in_the_data_folder(self, tmp_path: Path) -> None:
        """All paths are below the one folder, so that a copy of it is a copy of everything."""
        layout = Layout(tmp_path)
        names = [name for name, value in vars(Layout).items() if isinstance(value, property)]

        assert len(names) > 12
        assert all(getattr(layout, name).is_relative_to(tmp_path) for name in names)
        assert list(tmp_path.iterdir()) == []

    def test_folders_are_closed_to_others(self, tmp_path: Path) -> None:
        """Created folders are the owner's alone; creating them again changes nothing in them."""
        layout = Layout(tmp_path / "data")

        layout.create()
        (layout.secrets / "kept").write_text("x")
        layout.create()

        folders = [path for path in layout.root.rglob("*") if path.is_dir()]
        assert {path.stat().st_mode & 0o777 for path in [layout.root, *folders]} == {0o700}
        assert (layout.secrets / "kept").read_text() == "x"

    @pytest.mark.parametrize("depth", ["short", "很长的文件夹名称" * 4, "x" * 200])
    def test_sockets_can_be_bound_however_deep_the_folder(self, tmp_path: Path, depth: str) -> None:
        """Where the folder's own path is too long for a socket, the system's temporary folder has them."""
        layout = Layout(tmp_path / depth)
        layout.create()

        try:
            for path in (layout.gateway_socket, layout.control_socket, layout.supervisor_socket):
                with socket.socket(socket.AF_UNIX) as bound:
                    bound.bind(str(path))
                path.unlink()
            is_inside = layout.run.is_relative_to(tmp_path)
            assert is_inside or layout.run.parent == Path(tempfile.gettempdir())
            assert is_inside is (depth == "short")
            assert layout.run.stat().st_mode & 0o777 == 0o700
        finally:
            layout.run.rmdir()

    @pytest.mark.parametrize("way", ["open", "link", "file", "theirs"])
    def test_a_folder_of_sockets_that_others_can_reach_is_refused(self, tmp_path: Path, way: str) -> None:
        """In the shared temporary folder, what somebody else has put in place of ours is not used."""
        layout = Layout(tmp_path / ("x" * 200))
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(mode=0o700)
        if way == "link":
            layout.run.symlink_to(elsewhere)
        elif way == "file":
            layout.run.write_text("")
        else:
            layout.run.mkdir(mode=0o700)
            if way == "open":
                layout.run.chmod(0o777)
            elif os.geteuid() == 0:
                os.chown(layout.run, 65534, 65534)
            else:
                layout.run.rmdir()
                pytest.skip("only root can make a folder of another user")

        try:
            with pytest.raises(ConflictError, match=layout.run.name) as caught:
                layout.create()
            assert caught.value.code == "run_folder_unsafe"
        finally:
            layout.run.rmdir() if way in {"open", "theirs"} else layout.run.unlink()

    def test_each_folder_has_sockets_of_its_own(self, tmp_path: Path) -> None:
        """Two platforms with long paths never meet in the temporary folder; one always finds its own again."""
        first, second = (Layout(tmp_path / ("x" * 200) / name) for name in ("first", "second"))

        assert first.run != second.run
        assert first.run == Layout(first.root).run


def settings_of(**variables: str) -> Any:
    """Read the settings in a process that has these variables and no others of ours."""
    done = run_settings(variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run_settings(variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Print the settings in a fresh process."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("HANLIN_")}
    program = "from hanlin.settings import Settings; print(Settings().model_dump_json())"
    return subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, env=others | dict(variables)
    )


def leaves(section: BaseModel, prefix: str) -> list[tuple[str, str]]:
    """Return the environment name and default of every setting."""
    found: list[tuple[str, str]] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found += leaves(value, f"{prefix}{name.upper()}__")
        else:
            found.append((prefix + name.upper(), str(field.default)))
    return found
