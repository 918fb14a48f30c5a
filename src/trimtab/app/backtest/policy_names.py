"""The names of policies that a backtest compares when no name is given."""

from __future__ import annotations

NEVER = "never"
POLICY = "policy"
DEFAULT_NAMES = (NEVER, "every:28d", "every:7d", "loss", "matrix", POLICY)
"""What is compared when no name is given."""
