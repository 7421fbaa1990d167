"""What serves now and how it does, and the report of the eight figures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Response

from hanlin.console.charts import Chart, line, over_time, spark
from hanlin.console.visit import Member, Visit
from hanlin.domain import PlatformError
from hanlin.sdk import Calls

router = APIRouter()
WINDOWS = {"15m": 900.0, "1h": 3600.0, "24h": 86_400.0}
POINTS = 180
Points = Sequence[tuple[float, float]]
Subject = tuple[str, str]


@router.get("/")
async def show_overview(visit: Member, deployment: str = "", window: str = "15m") -> Response:
    """Show live charts of one deployment, the state of all, and what goes on besides."""
    deployments, tasks, alerts, probes, models, corpora = await asyncio.gather(
        visit.api.send(Calls.list_deployments()),
        visit.api.send(Calls.list_tasks(limit=6)),
        visit.api.send(Calls.list_alerts(is_open=True, limit=5)),
        visit.api.send(Calls.list_probes()),
        visit.api.send(Calls.list_models()),
        visit.api.send(Calls.list_corpora()),
    )
    names = [reply.deployment.name for reply in deployments.data]
    chosen = deployment if deployment in names else next(iter(names), "")
    return visit.render(
        "overview.html",
        deployments=deployments.data,
        chosen=next((reply for reply in deployments.data if reply.deployment.name == chosen), None),
        charts=await overview_charts(visit, chosen, WINDOWS.get(window, 900.0)) if chosen else {},
        window=window if window in WINDOWS else "15m",
        windows=list(WINDOWS),
        tasks=tasks.data,
        alerts=alerts.data,
        probes=probes.data,
        models=models.data,
        corpora=corpora.data,
    )


@router.get("/report")
async def show_report(visit: Member) -> Response:
    """Show the eight figures of every deployment."""
    return visit.render("report.html", report=await visit.api.send(Calls.get_report()))


async def overview_charts(visit: Visit, deployment: str, window_s: float) -> dict[str, Chart]:
    """Return the charts of a deployment and of the machine; the stream of the page makes them grow."""
    wanted = {
        "requests": [(deployment, "requests_per_s"), (deployment, "texts_per_s")],
        "latency": [(deployment, f"latency_{p}_ms") for p in ("p50", "p95", "p99")],
        "queue": [(deployment, "in_flight"), (deployment, "queued")],
        "replicas": [(deployment, "replicas_ready"), (deployment, "replicas_wanted")],
        "host": [("host", "cpu_ratio"), ("host", "memory_ratio")],
    }
    units = {"requests": "/s", "latency": "ms", "host": "ratio"}
    subjects = list(dict.fromkeys(subject for group in wanted.values() for subject in group))
    found = await asyncio.gather(*(read_series(visit, subject, window_s) for subject in subjects))
    points = dict(zip(subjects, found, strict=True))
    charts = {
        name: over_time(
            [line(visit.catalogue.word("series", s[1]), points[s], live=s) for s in group],
            unit=units.get(name, ""),
            window_s=window_s,
            is_area=name != "latency",
        )
        for name, group in wanted.items()
    }
    for group in wanted.values():
        charts |= {f"spark_{s[1]}": spark(points[s], live=s, window_s=window_s) for s in group}
    return charts


async def read_series(visit: Visit, subject: Subject, window_s: float) -> Points:
    """Return the latest points of a series; none where there is no such series (yet)."""
    try:
        call = Calls.get_series(subject[1], subject[0], since_s=window_s, step_s=max(1.0, window_s / POINTS))
        return (await visit.api.send(call)).points
    except PlatformError:
        return ()
