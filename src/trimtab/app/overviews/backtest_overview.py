"""What policies would have done with the past of a model: the results of backtests, and those at work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from trimtab.app.backtest.kept_results import BacktestState, backtest_state, read_result
from trimtab.app.backtest.policy_names import DEFAULT_NAMES, NEVER, POLICY
from trimtab.app.backtest.policy_table import MIN_WINDOWS, Estimate, PolicyRow, PolicyTable
from trimtab.app.operations.backtest_orders import order_ids
from trimtab.app.overviews import wording
from trimtab.app.project.workspace import Workspace
from trimtab.errors import NotFound
from trimtab.records.monitoring import WindowReport
from trimtab.units import plural

SHOWN = 50
"""Newest backtests of a list."""
WORST_WINDOWS = 30
OWN = (POLICY, "matrix")
"""Names of the project's own policy, the most wanted first."""


class PolicySummary(msgspec.Struct, frozen=True, kw_only=True):
    """One policy of a backtest in words. changed: keys of the policy that it varies, with their values."""

    name: str
    changed: str
    saved: str
    interval: str
    lost: str
    trainings: int
    refused: int
    reviews: int
    promotions: int
    no_better: str
    worst_windows: str
    """What it saved in its WORST_WINDOWS worst neighbouring windows."""
    is_best: bool
    on_frontier: bool


class BacktestOverview(msgspec.Struct, frozen=True, kw_only=True):
    """The backtests of a model, and one of them."""

    model: str
    sentence: str
    backtests: tuple[BacktestState, ...]
    """Newest first."""
    shown: BacktestState | None
    table: PolicyTable | None
    """The result of the one that is shown; None while it is not there."""
    policies: tuple[PolicySummary, ...]
    matured_windows: int
    """Of the champions, whose labels are complete."""
    least_windows: int
    usual_policies: tuple[str, ...]
    """What is compared when no policy is named."""


def backtest_overview(workspace: Workspace, model: str, id_: str | None = None) -> BacktestOverview:
    """Return the backtests of a model.

    Args:
        workspace: an open project.
        model: its name.
        id_: the backtest that is shown; None: the newest with a result, else the newest.

    Raises:
        DefinitionError: an unknown model.
        NotFound: an unknown backtest.
    """
    name = workspace.model(model).name
    states = tuple(_states(workspace, name))
    if id_ is not None:
        shown: BacktestState | None = backtest_state(workspace, id_)
        if shown is not None and shown.order.model != name:
            raise NotFound(f"backtest '{id_}' is of model '{shown.order.model}'")
    else:
        shown = next((state for state in states if state.state == "done"), states[0] if states else None)
    table = read_result(workspace, shown.order.id) if shown else None
    matured = workspace.metadata.count(WindowReport, model=name, role="champion", stage="matured")
    return BacktestOverview(
        model=name,
        sentence=_sentence(shown, table, matured),
        backtests=states,
        shown=shown,
        table=table,
        policies=tuple(_policy(row, table) for row in table.rows) if table else (),
        matured_windows=matured,
        least_windows=MIN_WINDOWS,
        usual_policies=tuple(DEFAULT_NAMES),
    )


def _states(workspace: Workspace, model: str) -> Iterator[BacktestState]:
    found = 0
    for id_ in order_ids(workspace):
        with suppress(NotFound):  # a folder that was removed meanwhile, or is being made
            state = backtest_state(workspace, id_)
            if state.order.model == model:
                found += 1
                yield state
        if found == SHOWN:
            return


def _policy(row: PolicyRow, table: PolicyTable) -> PolicySummary:
    name, _, changed = row.name.partition(" ")
    return PolicySummary(
        name=name,
        changed=changed,
        saved=_amount(row.saved.value, table, signed=True),
        interval=_ends(row.saved, table),
        lost=_amount((row.money or row.loss).value, table),
        trainings=row.retrainings,
        refused=row.refused,
        reviews=row.decisions.get("review", 0),
        promotions=row.promotions,
        no_better=f"{row.false_alarms} of {row.judged}",
        worst_windows=_amount(_worst(row.cumulative), table, signed=True),
        is_best=row.name == table.best,
        on_frontier=row.on_frontier,
    )


def _worst(cumulative: Sequence[float]) -> float:
    """Return the least that was saved in WORST_WINDOWS neighbouring windows, or in all where there are fewer."""
    sums = [0.0, *cumulative]
    size = min(WORST_WINDOWS, len(cumulative))
    return min((sums[end] - sums[end - size] for end in range(size, len(sums))), default=0.0)


def _sentence(shown: BacktestState | None, table: PolicyTable | None, matured: int) -> str:
    if shown is None:
        enough = matured >= MIN_WINDOWS
        missing = "" if enough else f"it needs {MIN_WINDOWS} windows with labels, the log has {matured}"
        then = "next: trimtab backtest" if enough else "they come with: trimtab up"
        return wording.sentence("no backtest yet", missing, then)
    if shown.state == "running":
        steps = f"{shown.done} of {shown.of} policies are done" if shown.of else "it has begun"
        return wording.sentence(f"the backtest runs: {steps}; it changes nothing that serves")
    if table is None:
        return wording.sentence(
            f"the backtest failed: {shown.text.splitlines()[-1] if shown.text else 'without a word'}"
        )
    return _result(table)


def _result(table: PolicyTable) -> str:
    rows = {row.name: row for row in table.rows}
    own = next((rows[name] for name in OWN if name in rows), None)
    row = own if own is not None and own.name != table.against else rows[table.best]
    who = "this policy" if own is row else f"the policy {row.name}"
    against = "never retraining" if table.against == NEVER else f"the policy {table.against}"
    saved = _amount(abs(row.saved.value), table)
    verb = "saved" if row.saved.value >= 0 else "lost"
    sure = "" if row.saved.low > 0 or row.saved.high < 0 else "; the interval holds 0, so it is not sure"
    reviews = row.decisions.get("review", 0)
    compared = "over" if verb == "saved" else "against"
    text = (
        f"{who} would have {verb} {saved} ({_ends(row.saved, table)}) {compared} {against}, "
        f"with {plural(row.retrainings, 'training')} and {plural(reviews, 'review')}{sure}"
    )
    best = rows[table.best]
    other = "" if best is row else f"the best in hindsight, {best.name}, {_amount(best.saved.value, table)}"
    return wording.sentence(text, other)


def _amount(value: float, table: PolicyTable, *, signed: bool = False) -> str:
    if table.currency is None:
        return f"{wording.metric(value, signed=signed)} {table.loss_name} a row"
    return wording.money(value, table.currency, signed=signed)


def _ends(estimate: Estimate, table: PolicyTable) -> str:
    if table.currency is None:
        return wording.interval(estimate.low, estimate.high, signed=True)
    low, high = (
        wording.money(value, table.currency).removesuffix(f" {table.currency}")
        for value in (estimate.low, estimate.high)
    )
    return f"{low} to {high}"
