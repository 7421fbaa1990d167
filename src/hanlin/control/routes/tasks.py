"""Tasks and schedules."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from hanlin.control.kinds import check_params, describe_kinds
from hanlin.control.routes.access import Builder, Operator, Parts, Reader, listed
from hanlin.domain import Schedule, Task
from hanlin.wire.admin import Listed, ScheduleRequest, TaskKind, TaskLog, TaskRequest, TaskSeries
from hanlin.workflows import read_log, read_series

router = APIRouter(tags=["tasks"])


@router.get("/task-kinds")
def list_task_kinds(_: Reader) -> Listed[TaskKind]:
    """List the kinds of tasks and their parameters."""
    return Listed(data=describe_kinds())


@router.post("/tasks", status_code=202)
def create_task(
    body: TaskRequest,
    response: Response,
    parts: Parts,
    context: Builder,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Task:
    """Ask for long work, now or at a time; the same Idempotency-Key gives back the task it made."""
    params = check_params(body.kind, body.params)
    with parts.changes.record(context, "task.created", kind=body.kind) as details:
        task = parts.queue.submit(
            body.kind,
            params,
            by=context.caller.principal,
            run_at=body.run_at,
            max_attempts=body.max_attempts,
            idempotency_key=f"{context.caller.principal}/{idempotency_key}" if idempotency_key else None,
        )
        details["task"] = task.id
    response.headers["Location"] = f"/api/v1/tasks/{task.id}"
    return task


@router.get("/tasks")
def list_tasks(
    parts: Parts,
    _: Reader,
    state: str | None = None,
    kind: str | None = None,
    after: str | None = None,
    limit: int = Query(50, ge=1, le=500),
) -> Listed[Task]:
    """List tasks, newest first."""
    return listed(parts.store.tasks.list(limit=limit, after=after, newest_first=True, state=state, kind=kind))


@router.get("/tasks/{task_id}")
def get_task(task_id: str, parts: Parts, _: Reader) -> Task:
    """Show one task."""
    return parts.store.tasks.get(task_id)


@router.get("/tasks/{task_id}/log")
def get_log(task_id: str, parts: Parts, _: Reader, after: int = 0, limit: int = Query(500, ge=1, le=5000)) -> TaskLog:
    """Read the log from line *after* on."""
    folder = parts.layout.tasks / parts.store.tasks.get(task_id).id
    lines, next_after = read_log(folder, after=after, limit=limit)
    return TaskLog.model_validate({"lines": lines, "next_after": next_after})


@router.get("/tasks/{task_id}/series")
def get_series(task_id: str, parts: Parts, _: Reader) -> TaskSeries:
    """Read the metric series: loss, accuracy, rate by step."""
    return TaskSeries.model_validate({"series": read_series(parts.layout.tasks / parts.store.tasks.get(task_id).id)})


@router.post("/tasks/{task_id}/cancel")
def cancel_task(task_id: str, parts: Parts, context: Builder) -> Task:
    """Stop a task; what it wrote so far stays for a retry."""
    with parts.changes.record(context, "task.cancelled", task=task_id):
        return parts.queue.cancel(task_id)


@router.post("/tasks/{task_id}/retry")
def retry_task(task_id: str, parts: Parts, context: Builder) -> Task:
    """Run a failed or cancelled task again, from its last checkpoint."""
    with parts.changes.record(context, "task.retried", task=task_id):
        return parts.queue.retry(task_id)


@router.get("/schedules")
def list_schedules(
    parts: Parts, _: Reader, after: str | None = None, limit: int = Query(100, ge=1, le=500)
) -> Listed[Schedule]:
    """List schedules."""
    return listed(parts.store.schedules.list(limit=limit, after=after))


@router.post("/schedules", status_code=201)
def create_schedule(body: ScheduleRequest, parts: Parts, context: Operator) -> Schedule:
    """Create tasks by a cron line in a time zone."""
    params = check_params(body.kind, body.params)
    with parts.changes.record(context, "schedule.created", kind=body.kind, cron=body.cron) as details:
        schedule = parts.scheduler.create(
            body.kind,
            params,
            cron=body.cron,
            timezone=body.timezone,
            missed_runs=body.missed_runs,
            by=context.caller.principal,
        )
        details["schedule"] = schedule.id
    return schedule


@router.delete("/schedules/{schedule_id}", status_code=204)
def delete_schedule(schedule_id: str, parts: Parts, context: Operator) -> None:
    """Remove a schedule; the tasks it made stay."""
    parts.store.schedules.get(schedule_id)
    with parts.changes.record(context, "schedule.deleted", schedule=schedule_id):
        parts.store.schedules.remove(schedule_id)
