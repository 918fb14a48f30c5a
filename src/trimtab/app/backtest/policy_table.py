"""Policies side by side: losses, money and what each saved, with intervals; which are on the frontier.

Intervals are of a circular block bootstrap over windows: blocks of BLOCK neighbouring windows are drawn, so that days
which resemble their neighbours do not count as independent (Politis and Romano, A circular block-resampling procedure
for stationary data, 1992). All policies are measured on the same draws, so that what they share cancels out in
differences.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from trimtab.app.backtest.policy_run import LOSS_NAMES, Change, Held, PolicyRun, Retrained
from trimtab.errors import StageError
from trimtab.metric_catalog import Task
from trimtab.policy.model import Prices
from trimtab.units import MICROS

BLOCK = 7
"""Windows of a block."""
DRAWS = 2_000
SEED = 0
LEVEL = 0.95
MIN_WINDOWS = 2 * BLOCK
"""With fewer windows there are no two blocks, and no interval."""
HOUR_SECONDS = 3600.0


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float


class PolicyRow(msgspec.Struct, frozen=True, kw_only=True):
    """One policy of the table. Money is None where the policy names no costs."""

    name: str
    loss: Estimate
    money: Estimate | None
    saved: Estimate
    """Against the first policy: in money, else in loss a row."""
    regret: float
    """What the best policy of the table saved beyond this one, in the same unit."""
    share: float | None
    """Part of what the best saved; None where the best saved nothing."""
    retrainings: int
    """That made a version, or were refused."""
    refused: int
    promotions: int
    false_alarms: int
    judged: int
    """Retrainings with labels on the windows that followed, of which false_alarms did not help."""
    delay_days: float | None
    """Mean time from the window that led to a retraining to its service."""
    cpu_seconds: float
    training_cost: float
    decisions: dict[str, int]
    on_frontier: bool
    cumulative: list[float]
    """Saved against the first policy up to each window, in the unit of `saved` as a sum over rows."""
    retrained: list[Retrained]
    changes: list[Change]
    held: list[Held]


class PolicyTable(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a backtest. No policy is chosen."""

    model: str
    task: Task
    loss_name: str
    currency: str | None
    """None where the policy names no costs; what is saved is then loss a row."""
    against: str
    """Name of the policy that `saved` is measured against."""
    best: str
    """The policy that lost least, among those of the table, in hindsight."""
    starts: list[int]
    """Start of each window, microseconds since 1970."""
    rows_labelled: int
    windows: int
    block: int
    draws: int
    level: float
    rows: list[PolicyRow]
    remarks: list[str]


def make_table(
    runs: Sequence[PolicyRun], *, model: str, currency: str, prices: Prices, remarks: Sequence[str] = ()
) -> PolicyTable:
    """Return the policies side by side; the first one is what the others are measured against.

    Raises StageError for too few windows.
    """
    first = runs[0]
    if len(first.starts) < MIN_WINDOWS:
        raise StageError(
            f"{len(first.starts)} windows have labels; a backtest needs {MIN_WINDOWS} at least, to say how sure its "
            "figures are. Take an earlier --from, or a shorter decide.window"
        )
    drawn = _draws(len(first.starts))
    has_money = first.money is not None
    lost = np.array([run.money if run.money is not None else run.losses for run in runs])
    losses, rows = np.array([run.losses for run in runs]), np.array(first.rows, np.float64)
    totals = lost.sum(axis=1) if has_money else losses.sum(axis=1) / rows.sum()
    best = int(totals.argmin())
    trained = [len(run.retrained) for run in runs]
    made = []
    for place, run in enumerate(runs):
        gain = lost[0] - lost[place]
        saved = _sum(gain, drawn) if has_money else _ratio(gain, rows, drawn)
        most = totals[0] - totals[best]
        made.append(
            PolicyRow(
                name=run.name,
                loss=_ratio(losses[place], rows, drawn),
                money=_sum(lost[place], drawn) if has_money else None,
                saved=saved,
                regret=float(totals[place] - totals[best]),
                share=float((totals[0] - totals[place]) / most) if most > 0 else None,
                retrainings=len(run.retrained),
                refused=sum(each.version is None for each in run.retrained),
                promotions=run.promotions,
                false_alarms=run.false_alarms,
                judged=sum(each.gain is not None for each in run.retrained),
                delay_days=float(np.mean(run.delays())) / MICROS["d"] if run.delays() else None,
                cpu_seconds=run.cpu_seconds,
                training_cost=run.cpu_seconds / HOUR_SECONDS * prices.cpu_hour,
                decisions=run.decisions,
                on_frontier=not any(
                    (totals[n] < totals[place] and trained[n] <= trained[place])
                    or (totals[n] <= totals[place] and trained[n] < trained[place])
                    for n in range(len(runs))
                ),
                cumulative=np.cumsum(gain).tolist(),
                retrained=run.retrained,
                changes=run.changes,
                held=run.held,
            )
        )
    return PolicyTable(
        model=model,
        task=first.task,
        loss_name=LOSS_NAMES[first.task],
        currency=currency if has_money else None,
        against=first.name,
        best=runs[best].name,
        starts=first.starts,
        rows_labelled=sum(first.rows),
        windows=first.windows,
        block=BLOCK,
        draws=DRAWS,
        level=LEVEL,
        rows=made,
        remarks=[*remarks, *dict.fromkeys(text for run in runs for text in run.remarks)],
    )


def _draws(windows: int) -> npt.NDArray[np.int64]:
    """Return windows drawn in circular blocks, int64 (DRAWS, windows)."""
    generator = np.random.default_rng(SEED)
    blocks = -(-windows // BLOCK)
    starts = generator.integers(0, windows, (DRAWS, blocks))
    found = (starts[:, :, None] + np.arange(BLOCK)) % windows
    return found.reshape(DRAWS, -1)[:, :windows]


def _sum(values: npt.NDArray[np.float64], drawn: npt.NDArray[np.int64]) -> Estimate:
    return _estimate(float(values.sum()), values[drawn].sum(axis=1))


def _ratio(values: npt.NDArray[np.float64], rows: npt.NDArray[np.float64], drawn: npt.NDArray[np.int64]) -> Estimate:
    return _estimate(float(values.sum() / rows.sum()), values[drawn].sum(axis=1) / rows[drawn].sum(axis=1))


def _estimate(value: float, again: npt.NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(again, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=value, low=float(low), high=float(high))
