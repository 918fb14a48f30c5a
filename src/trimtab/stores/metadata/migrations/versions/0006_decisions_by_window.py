"""An index of decisions by window, for the check whether a window has a decision."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

INDEX = "ix_trimtab_decision_model_start"


def upgrade() -> None:
    """Make the index."""
    op.create_index(INDEX, "trimtab_decision", ["model", "start", "seq"], if_not_exists=True)
