"""What answers to clients cost: rows whose score was sent, in whatever role their version has in the window."""

from __future__ import annotations

MILLION = 1_000_000


def cost_per_million(cost: float, answers: int) -> float | None:
    """Return the serving cost of 1,000,000 answers; None without answers.

    cost: of all rows, those that shadows scored included. answers: rows whose score was sent to a client.
    """
    return MILLION * cost / answers if answers else None
