"""`hanlin`: every command, its options that hold everywhere, and how errors look."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import hanlin
from hanlin.cli import factory, operations, platform
from hanlin.cli.context import complain, options
from hanlin.domain import PlatformError

app = typer.Typer(
    name="hanlin",
    help="From raw text to an audited language-model endpoint. 从文本到可审计的语言模型服务。",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (platform.app, factory.app, operations.app):
    app.registered_commands += part.registered_commands
    app.registered_groups += part.registered_groups


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"hanlin {hanlin.__version__}\n")
        raise typer.Exit


@app.callback()
def common(
    data: Annotated[Path | None, typer.Option(envvar="HANLIN_DATA_DIR", help="The data folder.")] = None,
    url: Annotated[str, typer.Option(envvar="HANLIN_URL", help="Management address of another platform.")] = "",
    gateway_url: Annotated[str, typer.Option(envvar="HANLIN_GATEWAY_URL", help="Its gateway's address.")] = "",
    token: Annotated[str, typer.Option(envvar="HANLIN_TOKEN", help="A key for it.", show_envvar=False)] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    language: Annotated[str, typer.Option(help="zh or en.")] = "",
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Take the options that hold for every command."""
    del version
    options.data, options.url, options.gateway_url = data, url, gateway_url
    options.token, options.as_json, options.language = token, as_json, language


def main() -> None:
    """Run the command line; an error is one line and a hint, and exit status 1."""
    try:
        app()
    except PlatformError as error:
        complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
