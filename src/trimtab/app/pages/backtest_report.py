"""The page of a backtest: what each policy saved, how often it trained, what served under it."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.app.backtest.policy_table import PolicyRow, PolicyTable
from trimtab.app.overviews.backtest_charts import TIMELINES_NOTE, backtest_charts
from trimtab.app.overviews.wording import count, days
from trimtab.app.pages.page_parts import Column, Figure, Page, Section, Table, write_page
from trimtab.charts.theme import Frame
from trimtab.clock import from_micros


def backtest_page(found: PolicyTable) -> str:
    """Return the page. Raises MissingExtra without the extra `console`."""
    unit = found.currency or f"{found.loss_name}, summed over rows"
    starts = [from_micros(start) for start in found.starts]
    charts = backtest_charts(found, Frame().drawn())
    return write_page(
        Page(
            title=f"Backtest of {found.model}",
            lead=f"{count(found.windows)} windows, {count(found.rows_labelled)} labelled rows, "
            f"{days(starts[0], starts[-1])}.",
            sentence=f"Best in hindsight, among these: {found.best}. No policy is chosen here.",
            sections=[
                Section(
                    heading=f"Saved against {found.against}, over time ({unit})",
                    figures=[Figure(chart=charts.savings)],
                ),
                Section(
                    heading=f"What it saves ({found.currency or found.loss_name}) and how often it retrains",
                    lead="Filled: no policy saves more with fewer trainings. Lines: the interval of what was saved.",
                    figures=[Figure(chart=charts.frontier)],
                ),
                Section(
                    heading="What served under each policy",
                    lead=TIMELINES_NOTE,
                    figures=[Figure(chart=charts.timelines)],
                ),
                Section(heading="Figures", table=_table(found)),
            ],
            foot=list(_notes(found)),
        )
    )


def _notes(found: PolicyTable) -> Iterator[str]:
    yield (
        f"Intervals: {found.level:.0%}, circular block bootstrap over windows, blocks of {found.block}, "
        f"{found.draws:,} draws, the same ones for all policies."
    )
    yield "Regret: what the best policy of this table saved beyond a policy. It is known in hindsight alone."
    yield "No better: retrainings whose model did not beat the one before on the 28 windows that followed."
    yield from found.remarks


def _table(found: PolicyTable) -> Table:
    heads = (
        "policy", f"{found.currency or found.loss_name} lost", "saved", "95 %", "share of best", "regret",
        found.loss_name, "95 %", "retrainings", "refused", "promoted", "no better", "delay, days", "training",
    )  # fmt: skip
    return Table([Column(head) for head in heads], [_row(row) for row in found.rows])


def _row(row: PolicyRow) -> tuple[str, ...]:
    lost = row.money or row.loss
    return (
        row.name,
        _short(lost.value),
        _short(row.saved.value),
        f"{_short(row.saved.low)} to {_short(row.saved.high)}",
        "" if row.share is None else f"{row.share:.2f}",
        _short(row.regret),
        f"{row.loss.value:.5g}",
        f"{row.loss.low:.5g} to {row.loss.high:.5g}",
        str(row.retrainings),
        str(row.refused),
        str(row.promotions),
        f"{row.false_alarms} of {row.judged}",
        "" if row.delay_days is None else f"{row.delay_days:.1f}",
        f"{row.training_cost:.4f}",
    )


def _short(value: float) -> str:
    value = value + 0.0 if abs(value) > 1e-9 else 0.0  # no minus before a zero
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.4g}"
