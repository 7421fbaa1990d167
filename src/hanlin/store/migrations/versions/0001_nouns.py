"""The first schema: one table per noun, and leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NOUNS: dict[str, tuple[sa.Column[str] | sa.Column[int], ...]] = {
    "corpora": (sa.Column("corpus", sa.String(200)),),
    "bases": (),
    "models": (),
    "versions": (sa.Column("model", sa.String(200)),),
    "evidence": (
        sa.Column("model", sa.String(200)),
        sa.Column("version", sa.Integer),
        sa.Column("kind", sa.String(60)),
    ),
    "promotions": (sa.Column("model", sa.String(200)), sa.Column("state", sa.String(20))),
    "aliases": (sa.Column("model", sa.String(200)),),
    "deployments": (),
    "releases": (sa.Column("deployment", sa.String(200)),),
    "tasks": (
        sa.Column("state", sa.String(20)),
        sa.Column("kind", sa.String(60)),
        sa.Column("schedule_id", sa.String(60)),
        sa.Column("idempotency_key", sa.String(300)),
    ),
    "schedules": (),
    "api_keys": (sa.Column("kind", sa.String(20)),),
    "alert_rules": (),
    "alerts": (sa.Column("rule_id", sa.String(60)), sa.Column("is_open", sa.Integer)),
    "channels": (),
}


def upgrade() -> None:
    """Create the tables."""
    for name, columns in NOUNS.items():
        op.create_table(
            name,
            sa.Column("key", sa.String(300), primary_key=True),
            *columns,
            sa.Column("body", sa.Text, nullable=False),
        )
        for column in columns:
            op.create_index(f"ix_{name}_{column.name}", name, [column.name, "key"])
    op.create_table(
        "leases",
        sa.Column("name", sa.String(300), primary_key=True),
        sa.Column("holder", sa.String(300), nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in [*NOUNS, "leases"]:
        op.drop_table(name)
