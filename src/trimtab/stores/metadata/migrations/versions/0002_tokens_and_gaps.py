"""Tables of the gateway's tokens and of gaps of the prediction log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT, NUMBER = sa.Text(), sa.BigInteger()

KEYS: dict[str, dict[str, sa.types.TypeEngine[str] | sa.types.TypeEngine[int]]] = {
    "token": {"name": TEXT},
    "token_revocation": {"token": TEXT},
    "log_gap": {"worker": TEXT},
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
