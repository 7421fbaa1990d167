"""What every command needs: the language, the platform it talks to, and how it prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hanlin.domain import PlatformError, UnauthenticatedError, UnavailableError
from hanlin.sdk import Call, Client
from hanlin.settings import Layout, Settings


@dataclass(slots=True)
class Options:
    """The options that hold for every command."""

    data: Path | None = None
    url: str = ""
    gateway_url: str = ""
    token: str = ""
    as_json: bool = False
    language: str = ""


options = Options()
screen = Console()


def say(chinese: str, english: str) -> str:
    """Return the text in the user's language."""
    chosen = options.language or Settings().language or os.environ.get("LANG", "")
    return chinese if chosen.lower().startswith("zh") else english


def layout() -> Layout:
    """Return the layout of the data folder that the command is about."""
    return Layout((options.data or Settings().data_dir).expanduser().resolve())


def addresses() -> dict[str, str]:
    """Return where the running platform answers: from the options, the environment, or the data folder."""
    found = {"control": options.url, "gateway": options.gateway_url}
    state = layout().state
    if not found["control"] and state.is_file():
        found |= json.loads(state.read_text(encoding="utf-8"))
    if not found["control"]:
        raise UnavailableError(
            f"no platform is running on {layout().root}",
            code="not_running",
            hint="start it with `hanlin up`, or name one with --url and --token",
        )
    return found


def connect() -> Client:
    """Return a client of the management API."""
    return Client(addresses()["control"], _credential())


def connect_gateway(key: str = "") -> Client:
    """Return a client of the prediction API."""
    return Client(addresses()["gateway"], key or _credential())


def send(call: Call[Any]) -> Any:
    """Send one management call."""
    with connect() as client:
        return client.send(call)


def show(value: Any, table: Callable[[], Table] | None = None) -> None:
    """Print *value*: as JSON when that is asked for or nothing better is offered, else as the *table*."""
    if options.as_json or table is None:
        sys.stdout.write(to_json(value) + "\n")
    else:
        screen.print(table())


def to_json(value: Any) -> str:
    """Return *value* (domain values and wire models included) as readable JSON."""
    from pydantic_core import to_json as encode

    return encode(value, indent=2, fallback=str).decode()


def rows(title: str, columns: Sequence[str], lines: Sequence[Sequence[object]]) -> Table:
    """Return a table."""
    table = Table(*columns, title=title, title_justify="left")
    for line in lines:
        table.add_row(*(str(cell) for cell in line))
    return table


def complain(error: PlatformError) -> None:
    """Print what went wrong and what would be right, to standard error."""
    errors = Console(stderr=True, highlight=False)
    errors.print(f"error [{error.code}]: {error.message}", style="bold red", markup=False, soft_wrap=True)
    if error.hint:
        errors.print(say("提示", "hint") + f": {error.hint}", markup=False, soft_wrap=True)
    if error.request_id:
        errors.print(say("请求号", "request id") + f": {error.request_id}", markup=False, soft_wrap=True)


def _credential() -> str:
    if options.token or os.environ.get("HANLIN_TOKEN"):
        return options.token or os.environ["HANLIN_TOKEN"]
    path = layout().secrets / "cli_key"
    if not path.is_file():
        raise UnauthenticatedError("no credential was found", hint="give --token, or the --data folder of the platform")
    return path.read_text(encoding="ascii")
