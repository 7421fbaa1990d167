"""Long work on the command line: its progress while it runs, its result when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Column

from hanlin.cli.context import say
from hanlin.domain import PlatformError, Task, TaskState
from hanlin.sdk import Calls, Client


def run_task(client: Client, kind: str, params: Mapping[str, Any], screen: Console) -> dict[str, Any]:
    """Ask for a task, follow it on *screen*, and return its result; raise what it failed with."""
    return follow_task(client, client.send(Calls.create_task(kind, params)), screen)


def follow_task(client: Client, task: Task, screen: Console) -> dict[str, Any]:
    """Follow a task until it is over and return its result."""
    name = TextColumn("  {task.description}", table_column=Column(no_wrap=True, min_width=10))
    columns = (name, BarColumn(bar_width=16), TaskProgressColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=screen) as progress:
        row = progress.add_task(task.kind, total=None, note="")

        def show(seen: Task) -> None:
            now = seen.progress
            progress.update(row, total=now.get("total"), completed=now.get("done", 0), note=_note(now))

        done = client.wait_for_task(task.id, on_change=show)
        if done.state is TaskState.SUCCEEDED:  # the last report of progress need not have been the whole of it
            whole = done.progress.get("total") or 1
            progress.update(row, total=whole, completed=whole)
    if done.state is not TaskState.SUCCEEDED or done.result is None:
        error = done.error or {}
        raise PlatformError(
            f"{done.kind} {done.state}: {error.get('message', '')}",
            code=str(error.get("code", "task_failed")),
            hint=str(error.get("hint") or f"hanlin task log {done.id}"),
        )
    return dict(done.result)


def _note(progress: Mapping[str, Any]) -> str:
    """Say where the work is, how fast it goes, what it reports of itself, and how long it will take."""
    parts = [str(progress.get("message", ""))]
    if "rate_per_s" in progress:
        unit, left = progress["unit"], progress["time_left_s"]
        parts.insert(0, f"{unit} {progress['done']:,.0f}/{progress['total']:,.0f} · {progress['rate_per_s']:,.1f}/s")
        parts.append(say(f"剩余 {left:.0f} 秒", f"{left:.0f} s left"))
    return " · ".join(part for part in parts if part)
