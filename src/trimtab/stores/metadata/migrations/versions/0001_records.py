"""The first schema: one table a kind of record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT, NUMBER = sa.Text(), sa.BigInteger()

KEYS: dict[str, dict[str, sa.types.TypeEngine[str] | sa.types.TypeEngine[int]]] = {
    "table_version": {"table": TEXT},
    "check_report": {"table": TEXT, "batch_hash": TEXT, "verdict": TEXT},
    "feature_view_version": {"view": TEXT},
    "dataset": {"model": TEXT},
    "run": {"model": TEXT, "dataset": TEXT, "key": TEXT},
    "gate_report": {"model": TEXT, "run": TEXT, "verdict": TEXT},
    "bundle": {"model": TEXT, "run": TEXT, "digest": TEXT},
    "revision": {"model": TEXT, "number": NUMBER, "cause": TEXT},
    "window": {"model": TEXT, "version": NUMBER, "role": TEXT, "stage": TEXT, "start": NUMBER},
    "profile": {"model": TEXT, "version": NUMBER, "start": NUMBER},
    "signal": {"model": TEXT, "version": NUMBER, "kind": TEXT, "start": NUMBER},
    "decision": {"model": TEXT, "number": NUMBER, "action": TEXT, "start": NUMBER},
    "resolution": {"decision": TEXT, "model": TEXT},
    "workflow_step": {"workflow": TEXT, "model": TEXT, "step": TEXT},
}


def upgrade() -> None:
    """Make the tables and their indexes."""
    for kind, keys in KEYS.items():
        table = f"trimtab_{kind}"
        op.create_table(
            table,
            sa.Column(
                "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True
            ),
            sa.Column("id", TEXT, nullable=False),
            sa.Column("created_at", NUMBER, nullable=False),
            *(sa.Column(key, type_, nullable=False) for key, type_ in keys.items()),
            sa.Column("body", TEXT, nullable=False),
        )
        op.create_index(f"ix_{table}_id", table, ["id"], unique=True)
        for key in keys:
            op.create_index(f"ix_{table}_{key}", table, [key, "seq"])
