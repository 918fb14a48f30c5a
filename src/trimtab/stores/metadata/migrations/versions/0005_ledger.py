"""Tables of policy versions and of the ledger. Records of earlier decisions get entries in their stored form."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from alembic import op

from trimtab.records.record import Record
from trimtab.stores.metadata.chain import GENESIS, entry

revision = "0005"
down_revision = "0004"

NUMBER, TEXT = sa.BigInteger(), sa.Text()
KEYS: dict[str, dict[str, sa.types.TypeEngine[str] | sa.types.TypeEngine[int]]] = {
    "policy_version": {"number": NUMBER},
    "ledger_entry": {"number": NUMBER},
    "ledger_acceptance": {"by": TEXT},
}
ENTERED = ("gate_report", "bundle", "revision", "decision", "resolution")


def upgrade() -> None:
    """Make the tables and their indexes, then an entry for each earlier record, oldest first."""
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
    _enter()


def _enter() -> None:
    connection = op.get_bind()
    earlier = [
        (created_at, order, seq, kind, id_, body)
        for order, kind in enumerate(ENTERED)
        for seq, id_, created_at, body in connection.exec_driver_sql(
            f"SELECT seq, id, created_at, body FROM trimtab_{kind}"
        )
    ]
    table = sa.table(
        "trimtab_ledger_entry", sa.column("id"), sa.column("created_at"), sa.column("number"), sa.column("body")
    )
    previous, made = GENESIS, []
    for number, (created_at, _, _, kind, id_, body) in enumerate(sorted(earlier), start=1):
        made_at = msgspec.json.decode(body, type=Record).created_at
        one = entry(number, kind, id_, made_at, body, previous)
        previous = one.hash
        text = msgspec.json.encode(one).decode()
        made.append({"id": one.id, "created_at": created_at, "number": number, "body": text})
    if made:
        connection.execute(table.insert(), made)
