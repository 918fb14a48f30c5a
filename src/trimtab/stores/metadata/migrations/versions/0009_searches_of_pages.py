"""Table of comparisons; columns and indexes by which the pages search decisions, windows and signals.

The new columns of earlier records are filled from their bodies.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

TEXT, NUMBER = sa.Text(), sa.BigInteger()
TABLE = "trimtab_comparison"
KEYS: dict[str, sa.types.TypeEngine[str] | sa.types.TypeEngine[int]] = {
    "model": TEXT,
    "version": NUMBER,
    "against": NUMBER,
    "start": NUMBER,
}
COLUMNS = {"trimtab_decision": ("band", "impact", "cell", "held_by"), "trimtab_signal": ("subject",)}
MAY_BE_MISSING = ("held_by",)
INDEXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (TABLE, ("model", "version", "start")),
    ("trimtab_decision", ("model", "band", "impact", "action")),
    ("trimtab_window", ("model", "stage", "start")),
    ("trimtab_signal", ("model", "subject", "start")),
)


def upgrade() -> None:
    """Make the table, the columns and the indexes."""
    op.create_table(
        TABLE,
        sa.Column("seq", NUMBER.with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False),
        *(sa.Column(key, type_, nullable=False) for key, type_ in KEYS.items()),
        sa.Column("body", TEXT, nullable=False),
        if_not_exists=True,
    )
    op.create_index(f"ix_{TABLE}_id", TABLE, ["id"], unique=True, if_not_exists=True)
    for key in KEYS:
        op.create_index(f"ix_{TABLE}_{key}", TABLE, [key, "seq"], if_not_exists=True)
    for table, names in COLUMNS.items():
        _add(table, names)
        for name in names:
            op.create_index(f"ix_{table}_{name}", table, [name, "seq"], if_not_exists=True)
    for table, keys in INDEXES:
        op.create_index(f"ix_{table}_{'_'.join(keys)}", table, [*keys, "seq"], if_not_exists=True)


def _add(table: str, names: tuple[str, ...]) -> None:
    """Add text columns that the bodies of the records have, and fill them."""
    connection = op.get_bind()
    known = {column["name"] for column in sa.inspect(connection).get_columns(table)}
    names = tuple(name for name in names if name not in known)
    if not names:
        return
    for name in names:
        op.add_column(table, sa.Column(name, TEXT, nullable=True))
    read = "json_extract(body, '$.{0}')" if connection.dialect.name == "sqlite" else "body::json ->> '{0}'"
    values = ", ".join(f"{name} = {read.format(name)}" for name in names)
    connection.exec_driver_sql(f"UPDATE {table} SET {values}")
    with op.batch_alter_table(table) as changed:  # SQLite copies the table
        for name in names:
            if name not in MAY_BE_MISSING:
                changed.alter_column(name, existing_type=TEXT, nullable=False)
