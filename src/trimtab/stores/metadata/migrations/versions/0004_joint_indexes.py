"""Indexes over several keys, for searches whose cost must not grow with the number of judged windows."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

INDEXES: dict[str, tuple[tuple[str, ...], ...]] = {
    "trimtab_window": (("model", "stage"),),
    "trimtab_profile": (("model", "version"),),
    "trimtab_signal": (
        ("model", "version", "start"),
        ("model", "version", "kind"),
        ("model", "version", "kind", "start"),
    ),
    "trimtab_decision": (("model", "action"),),
}


def upgrade() -> None:
    """Make the indexes."""
    for table, indexes in INDEXES.items():
        for keys in indexes:
            op.create_index(f"ix_{table}_{'_'.join(keys)}", table, [*keys, "seq"], if_not_exists=True)
