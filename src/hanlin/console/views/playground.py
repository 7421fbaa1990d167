"""The playground: one text (or one per line) to a deployment, through the gateway, like any program would."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response

from hanlin.console.visit import Fields, Member
from hanlin.domain import PlatformError
from hanlin.sdk import AsyncClient, Calls, classify

router = APIRouter()
TIMING = re.compile(r"(\w+);dur=([0-9.]+)")
SAMPLES = (
    "服务很周到，前台态度热情，下次还会再来。",
    "理赔拖了一个月还没有结果，客服电话根本打不通，太失望了。",
    "房间干净，就是隔音差了一点，早餐种类也不多。",
)


@router.get("/playground")
async def show_playground(visit: Member, deployment: str = "", text: str = "") -> Response:
    """Show the form; a link may carry deployment and text."""
    deployments = (await visit.api.send(Calls.list_deployments())).data
    return visit.render("playground.html", deployments=deployments, deployment=deployment, text=text, samples=SAMPLES)


@router.post("/playground")
async def ask(visit: Member, form: Fields) -> Response:
    """Ask the gateway with the visitor's own key, and show answer, timing and the same call for a shell."""
    deployment, text = form.text("deployment"), form.text("text")
    texts: str | list[str] = text
    if form.text("is_batch"):
        texts = [each.strip() for each in text.splitlines() if each.strip()]
    call = classify(deployment, texts, **({"truncate": True} if form.text("truncate") else {}))
    client = AsyncClient(visit.parts.gateway_url, visit.key, transport=visit.parts.transport)
    context: dict[str, Any] = {
        "deployment": deployment,
        "texts": [texts] if isinstance(texts, str) else texts,
        "curl": curl(visit.parts.gateway_url, call.json),
    }
    begun = time.perf_counter()
    try:
        reply, headers = await client.exchange(call)
    except PlatformError as problem:
        return visit.render("answer.html", problem=problem, reply=None, **context)
    took_ms = (time.perf_counter() - begun) * 1000
    return visit.render(
        "answer.html",
        problem=None,
        reply=reply,
        took_ms=took_ms,
        timings=timings(headers),
        request_id=headers.get("x-request-id", ""),
        **context,
    )


def timings(headers: Mapping[str, str]) -> dict[str, float]:
    """Return the spans of a Server-Timing header in milliseconds."""
    return {name: float(span) for name, span in TIMING.findall(headers.get("server-timing", ""))}


def curl(gateway_url: str, body: Mapping[str, Any]) -> str:
    """Return the same call for a shell; the key stays a variable."""
    quoted = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
    return (
        f"curl -s {gateway_url}/v1/classify \\\n"
        '  -H "Authorization: Bearer $HANLIN_KEY" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d '{quoted}'"
    )
