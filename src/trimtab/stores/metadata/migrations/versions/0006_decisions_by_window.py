"""An index over the windows that were decided on: whether one was is asked for each. Run through migrations.migrate."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

INDEX = "ix_trimtab_decision_model_start"


def upgrade() -> None:
    """Make it."""
    op.create_index(INDEX, "trimtab_decision", ["model", "start", "seq"], if_not_exists=True)
