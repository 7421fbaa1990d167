"""Tasks: long work, asked for, watched, stopped and tried again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Response

from hanlin.console.views.versions import curves
from hanlin.console.visit import Fields, Form, Member
from hanlin.domain import InvalidInputError, TaskState
from hanlin.sdk import Calls
from hanlin.wire.admin import TaskKind

router = APIRouter()
LOG_LINES = 2000


@router.get("/tasks")
async def list_tasks(visit: Member, state: str = "", kind: str = "", after: str | None = None) -> Response:
    """List tasks, newest first."""
    call = Calls.list_tasks(state=state or None, kind=kind or None, after=after)
    page, kinds = await asyncio.gather(visit.api.send(call), visit.api.send(Calls.list_task_kinds()))
    states = [s.value for s in TaskState]
    return visit.render("tasks.html", page=page, kinds=kinds.data, state=state, kind=kind, states=states)


@router.get("/tasks/new")
async def show_new_task(visit: Member, kind: str = "train") -> Response:
    """Show the form of one kind of task, made from the schema of its parameters."""
    kinds = (await visit.api.send(Calls.list_task_kinds())).data
    chosen = next((one for one in kinds if one.kind == kind), kinds[0])
    return visit.render("task_new.html", kinds=kinds, chosen=chosen, fields=fields_of(chosen))


@router.post("/tasks")
async def create_task(visit: Member, form: Fields) -> Response:
    """Ask for a task."""
    kinds = (await visit.api.send(Calls.list_task_kinds())).data
    kind = next((one for one in kinds if one.kind == form.text("kind")), kinds[0])
    task = await visit.api.send(Calls.create_task(kind.kind, read_params(form, kind)))
    return visit.go(f"/tasks/{task.id}", "task_created")


@router.get("/tasks/{task_id}")
async def show_task(visit: Member, task_id: str) -> Response:
    """Show how far a task is, its curves and its log."""
    task, log, charts = await asyncio.gather(
        visit.api.send(Calls.get_task(task_id)),
        visit.api.send(Calls.get_task_log(task_id, limit=LOG_LINES)),
        curves(visit, task_id),
    )
    return visit.render("task.html", task=task, log=log.lines, charts=charts)


@router.post("/tasks/{task_id}/{action}")
async def act_on_task(visit: Member, task_id: str, action: Literal["cancel", "retry"], _: Fields) -> Response:
    """Stop a task or run it again."""
    call = Calls.cancel_task(task_id) if action == "cancel" else Calls.retry_task(task_id)
    await visit.api.send(call)
    return visit.go(f"/tasks/{task_id}", "task_cancelled" if action == "cancel" else "task_retried")


def fields_of(kind: TaskKind) -> list[dict[str, Any]]:
    """Return the parameters of a kind as form fields: name, type, default, description, whether it is required."""
    required = kind.parameters.get("required", ())
    return [
        {
            "name": name,
            "type": _type(schema),
            "default": schema.get("default"),
            "description": schema.get("description", ""),
            "is_required": name in required,
        }
        for name, schema in kind.parameters.get("properties", {}).items()
    ]


def read_params(form: Form, kind: TaskKind) -> dict[str, Any]:
    """Return what the form says about each parameter; empty fields are left to their defaults."""
    given = {field["name"]: (field["type"], form.text(f"param.{field['name']}")) for field in fields_of(kind)}
    return {name: _value(name, type_, text) for name, (type_, text) in given.items() if text}


def _type(schema: Mapping[str, Any]) -> str:
    choices = schema.get("anyOf", [schema])
    return next((str(one["type"]) for one in choices if one.get("type") not in {None, "null"}), "string")


def _value(name: str, type_: str, text: str) -> Any:
    if type_ == "string":
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise InvalidInputError(f"{name} is {text!r}, not JSON", code="task_params_invalid", param=name) from None
