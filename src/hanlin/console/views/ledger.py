"""The ledger: search, one record in full, and verification."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Response

from hanlin.console.visit import Fields, Member
from hanlin.domain import InvalidInputError, NotFoundError
from hanlin.sdk import Calls
from hanlin.wire.admin import RecordReply

router = APIRouter()
FILTERS = (
    "kind",
    "action",
    "actor",
    "deployment",
    "model",
    "version",
    "label",
    "status",
    "min_latency_ms",
    "request_id",
    "subject",
    "ip",
    "text",
)
RARE = ("status", "version", "action", "min_latency_ms", "request_id", "subject", "ip", "since", "until")
KINDS = ("prediction", "change")
PERIODS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
PAGE = 50
AROUND = timedelta(milliseconds=1)


@router.get("/ledger")
async def search_ledger(visit: Member) -> Response:
    """Search; the whole question is in the address, so that a link shows what I see."""
    asked = dict(visit.request.query_params)
    filters = read_filters(asked, datetime.now(UTC))
    page = await visit.api.send(Calls.search_records(after=asked.get("after") or None, limit=PAGE, **filters))
    word = visit.catalogue.word
    return visit.render(
        "ledger.html",
        page=page,
        asked=asked,
        is_filtered=bool(filters),
        has_rare=any(asked.get(name) for name in RARE),
        record_path=record_path,
        kind_options=[("", "–"), *((kind, word("record_kind", kind)) for kind in KINDS)],
        period_options=[("", "–"), *((period, word("period", period)) for period in PERIODS)],
    )


@router.get("/ledger/records/{writer}/{index}")
async def show_record(visit: Member, writer: str, index: int, at: datetime, request_id: str = "") -> Response:
    """Show one record in full; *at* and *request_id* are where to look for it."""
    call = Calls.search_records(since=at - AROUND, until=at + AROUND, request_id=request_id or None, limit=500)
    found = (await visit.api.send(call)).data
    record = next((one for one in found if one.writer == writer and one.index == index), None)
    if record is None:
        raise NotFoundError(f"there is no record {index} of {writer} at that time", code="record_not_found")
    related = [one for one in found if one.index != index or one.writer != writer]
    return visit.render("record.html", record=record, related=related, record_path=record_path)


@router.post("/ledger/verification")
async def verify_ledger(visit: Member, _: Fields) -> Response:
    """Recompute the ledger and show the verdict per log."""
    return visit.render("verification.html", verdict=await visit.api.send(Calls.verify_ledger()))


def record_path(record: RecordReply) -> str:
    """Return the address of a record's own page."""
    query = urlencode({"at": record.at.isoformat(), "request_id": record.request_id})
    return f"/ledger/records/{quote(record.writer, safe='')}/{record.index}?{query}"


def read_filters(asked: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Return the filters that an address names; instants without a zone are UTC."""
    filters: dict[str, Any] = {name: asked[name].strip() for name in FILTERS if asked.get(name, "").strip()}
    if asked.get("period") in PERIODS:
        filters["since"] = now - PERIODS[asked["period"]]
    for name in ("since", "until"):
        if text := asked.get(name, "").strip():
            filters[name] = _instant(name, text)
    return filters


def _instant(name: str, text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"{name} is {text!r}, not a time", hint="2026-01-31T12:00", param=name) from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
