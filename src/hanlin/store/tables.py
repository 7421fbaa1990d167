"""
The tables, one per noun.

A row is its key, the few columns that lists filter by, and the noun itself as JSON in ``body``: what is written is
what the domain value says, and a new field of a noun needs no migration.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()


def _noun(name: str, *columns: Column[str] | Column[int] | Column[float]) -> Table:
    indexed = [column.name for column in columns]
    table = Table(
        name,
        metadata,
        Column("key", String(300), primary_key=True),
        *columns,
        Column("body", Text, nullable=False),
    )
    for column in indexed:
        Index(f"ix_{name}_{column}", table.c[column], table.c.key)
    return table


corpora = _noun("corpora", Column("corpus", String(200)))
bases = _noun("bases")
models = _noun("models")
versions = _noun("versions", Column("model", String(200)))
evidence = _noun("evidence", Column("model", String(200)), Column("version", Integer), Column("kind", String(60)))
promotions = _noun("promotions", Column("model", String(200)), Column("state", String(20)))
aliases = _noun("aliases", Column("model", String(200)))
deployments = _noun("deployments")
releases = _noun("releases", Column("deployment", String(200)))
tasks = _noun(
    "tasks",
    Column("state", String(20)),
    Column("kind", String(60)),
    Column("schedule_id", String(60)),
    Column("idempotency_key", String(300)),
)
schedules = _noun("schedules")
keys = _noun("api_keys", Column("kind", String(20)))
alert_rules = _noun("alert_rules")
alerts = _noun("alerts", Column("rule_id", String(60)), Column("is_open", Integer))
channels = _noun("channels")

leases = Table(
    "leases",
    metadata,
    Column("name", String(300), primary_key=True),
    Column("holder", String(300), nullable=False),
    Column("expires_at", Float, nullable=False),
)
