"""Write the pages that follow from the code: docs/settings.md and docs/errors.md. With --check, only compare."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic_settings import BaseSettings

from hanlin.settings import Settings

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "src" / "hanlin"


def main() -> int:
    """Write or compare every page; return the exit status."""
    stale = []
    for name, text in {"settings.md": settings_page(), "errors.md": errors_page()}.items():
        path = DOCS / name
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    for name in stale:
        sys.stderr.write(f"docs/{name} is not what the code says; run ./dev docs\n")
    return 1 if stale else 0


def settings_page() -> str:
    """Return the page of all settings."""
    lines = ["# Settings", "", "Made from the code by `./dev docs`. Every setting is an environment variable.", ""]
    lines += ["| variable | default | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | `{default}` | {meaning} |" for name, default, meaning in _settings(Settings, "HANLIN_")]
    return "\n".join(lines) + "\n"


def _settings(model: type[BaseModel] | type[BaseSettings], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, f"{variable}__")
        else:
            yield variable, str(field.default), field.description or ""


def errors_page() -> str:
    """Return the page of all error codes."""
    lines = [
        "# Error codes",
        "",
        "Made from the code by `./dev docs`. A code is part of the API and never changes.",
        "",
    ]
    lines += ["| code | raised in |", "|---|---|"]
    lines += [f"| `{code}` | {', '.join(sorted(places))} |" for code, places in sorted(_codes().items())]
    return "\n".join(lines) + "\n"


def _codes() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for code in _codes_of(node):
                found.setdefault(code, set()).add(package)
    return found


def _codes_of(node: ast.AST) -> Iterator[str]:
    """Yield what `code=` arguments and the `code = …` lines of error classes name."""
    if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
        values = [node.value.value]
    elif isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
        assigned = [n for n in node.body if isinstance(n, ast.Assign) and isinstance(n.value, ast.Constant)]
        values = [n.value.value for n in assigned if getattr(n.targets[0], "id", "") == "code"]  # type: ignore[attr-defined]
    else:
        return
    yield from (value for value in values if isinstance(value, str) and value)


if __name__ == "__main__":
    sys.exit(main())
