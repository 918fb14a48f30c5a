"""Indexes over several keys, for look-ups whose cost must not grow with the windows that were judged."""

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
    """Make them."""
    for table, indexes in INDEXES.items():
        for keys in indexes:
            op.create_index(f"ix_{table}_{'_'.join(keys)}", table, [*keys, "seq"], if_not_exists=True)
