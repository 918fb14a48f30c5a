"""The tables of the metadata store, one a kind of record, made from RECORDS.

Each has: seq (order of writing), id (unique), created_at (UTC microseconds), one indexed column for each
field in KEYS (times as UTC microseconds, so that they compare as numbers), and body (the record as JSON).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from trimtab.lazy_library import LazyLibrary
from trimtab.records.kinds import RECORDS
from trimtab.records.record import Record
from trimtab.stores.metadata.rows import key_type, table_name

if TYPE_CHECKING:
    import sqlalchemy as sa
else:
    sa = LazyLibrary("sqlalchemy")


def metadata() -> sa.MetaData:
    """Return SQLAlchemy's collection of all tables, for migrations."""
    return next(iter(tables().values())).metadata


@cache
def tables() -> dict[type[Record], sa.Table]:
    """Return the table of each kind."""
    metadata = sa.MetaData()
    return {kind: _table(kind, metadata) for kind in RECORDS.values()}


def _table(kind: type[Record], metadata: sa.MetaData) -> sa.Table:
    name = table_name(kind)
    keys = {key: key_type(kind, key) for key in kind.KEYS}
    columns = [
        sa.Column(key, sa.Text() if type_ is str else sa.BigInteger(), nullable=nullable)
        for key, (type_, nullable) in keys.items()
    ]
    return sa.Table(
        name,
        metadata,
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        *columns,
        sa.Column("body", sa.Text(), nullable=False),
        sa.Index(f"ix_{name}_id", "id", unique=True),
        *(sa.Index(f"ix_{name}_{key}", key, "seq") for key in kind.KEYS),
        *(sa.Index(f"ix_{name}_{'_'.join(keys)}", *keys, "seq") for keys in kind.JOINTLY),
    )
