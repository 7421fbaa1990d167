"""The ledger: search and verification."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query

from hanlin import audit
from hanlin.control.routes.access import Auditor, Parts
from hanlin.wire.admin import Listed, LogState, RecordFilters, RecordReply, VerifyReply

router = APIRouter(prefix="/audit", tags=["ledger"])


@router.get("/records")
def search_records(parts: Parts, context: Auditor, filters: Annotated[RecordFilters, Query()]) -> Listed[RecordReply]:
    """Search the ledger, newest first. The look itself is recorded."""
    given = filters.model_dump(exclude_none=True, exclude={"after", "limit", "min_latency_ms"})
    latency_us = None if filters.min_latency_ms is None else int(filters.min_latency_ms * 1000)
    query = audit.Query(**given, min_latency_us=latency_us)
    with parts.changes.record(context, "ledger.searched", filters=sorted(given)):
        page = parts.search(query, filters.limit, filters.after)
    data = [_reply(record) for record in page.records]
    return Listed(data=data, next_cursor=page.next_cursor, has_more=page.next_cursor is not None)


@router.post("/verify")
def verify_ledger(parts: Parts, context: Auditor) -> VerifyReply:
    """Recompute the whole ledger from its bytes and name the first record that is not what was written."""
    started = time.monotonic()
    report = parts.verify()
    logs = [
        LogState(
            writer=log.writer,
            size=log.size,
            root=log.root,
            is_intact=log.is_intact,
            first_bad_index=log.first_bad_index,
            finding=log.finding,
        )
        for log in report.logs
    ]
    with parts.changes.record(context, "ledger.verified", is_intact=report.is_intact, size=report.size):
        took = time.monotonic() - started
    return VerifyReply(is_intact=report.is_intact, size=report.size, root=report.root, logs=logs, took_s=took)


def _reply(record: audit.Record) -> RecordReply:
    return RecordReply(
        writer=record.writer,
        index=record.index,
        at=record.at,
        kind=record.kind,
        action=record.action,
        actor=record.actor,
        workspace=record.workspace,
        request_id=record.request_id,
        status=record.status,
        latency_us=record.latency_us,
        details=record.details,
        subject=record.subject,
        ip=record.ip,
        request=_json(record.request),
        result=_json(record.result),
        leaf_hash=record.leaf_hash,
    )


def _json(payload: bytes | None) -> Any:
    if not payload:
        return None
    try:
        return msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return payload.decode("utf-8", "replace")
