"""What answers to clients cost: rows whose score was sent, in whatever role their version has in the window."""

from __future__ import annotations

from trimtab.records.monitoring import ANSWER_MONEY, ANSWERS_PRICED, WindowReport

MILLION = 1_000_000


def cost_per_million(cost: float, answers: int) -> float | None:
    """Return the serving cost of 1,000,000 answers; None without answers.

    cost: of all rows, those that shadows scored included. answers: rows whose score was sent to a client.
    """
    return MILLION * cost / answers if answers else None


def answer_money(window: WindowReport) -> tuple[float, int] | None:
    """Return the money that mistakes of a version's answers cost in a matured window, and how many answers it counts.

    A champion that is replaced in a window answered some of its rows, whatever role it has in the others. None where
    the money is not known: without costs, labels or answers, and in windows of earlier releases in which the version
    answered some rows and scored others for comparison.
    """
    metrics = window.metrics
    if ANSWER_MONEY in metrics:
        return metrics[ANSWER_MONEY], int(metrics[ANSWERS_PRICED])
    if "money_lost" in metrics and 0 < window.served_rows == window.rows:
        return metrics["money_lost"], window.labelled
    return None
