from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

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


class TestVendor:
    def test_every_library_is_there_with_its_licence(self, hook: ModuleType) -> None:
        """What the hook promises lies where pages look for it."""
        missing = [target for target in hook.FILES.values() if not (STATIC / "vendor" / target).is_file()]

        assert missing == []

    def test_every_icon_is_there(self, hook: ModuleType) -> None:
        """An icon that a template names is drawn."""
        assert [name for name in hook.used_icons(STATIC.parent) if not icon(name)] == []

    def test_what_is_up_to_date_is_left_alone(self, hook: ModuleType) -> None:
        """A second build neither installs nor copies anything."""
        hook.bring_vendor_up_to_date(ROOT)

        assert hook.bring_vendor_up_to_date(ROOT) is False

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
