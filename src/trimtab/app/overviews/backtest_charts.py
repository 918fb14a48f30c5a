"""The charts of a backtest: what each policy saved, how often it trained, what served under it."""

from __future__ import annotations

from itertools import pairwise

import msgspec

from trimtab.app.backtest.policy_table import PolicyRow, PolicyTable
from trimtab.app.overviews.wording import metric
from trimtab.charts.choice_panels import PolicyPoint, frontier_panel, savings_panel
from trimtab.charts.event_panels import Act, NamedSpan, timelines_panel
from trimtab.charts.theme import Frame, Spec
from trimtab.clock import from_micros

USES = ("champion", "minor")
"""Colours of versions that follow one another."""
TIMELINES_NOTE = "numbers: versions; a triangle marks a training, a square a promotion"


class BacktestCharts(msgspec.Struct, frozen=True, kw_only=True):
    """The charts of one table of policies."""

    savings: Spec
    frontier: Spec
    timelines: Spec


def backtest_charts(table: PolicyTable, frame: Frame) -> BacktestCharts:
    """Return the charts of a table of policies. frame: width and colours; the range of time is that of the table."""
    starts = [from_micros(start) for start in table.starts]
    lines = [(f"{row.name}: {metric(row.cumulative[-1])}", row.cumulative) for row in table.rows]
    unit = table.currency or f"{table.loss_name} a row"
    return BacktestCharts(
        savings=savings_panel(lines, starts, frame),
        frontier=frontier_panel([_point(row) for row in table.rows], frame, unit=unit),
        timelines=_timelines(table, frame),
    )


def _point(row: PolicyRow) -> PolicyPoint:
    return PolicyPoint(
        name=row.name, trainings=row.retrainings, saved=row.saved.value, low=row.saved.low, high=row.saved.high,
        on_frontier=row.on_frontier,
    )  # fmt: skip


def _timelines(table: PolicyTable, frame: Frame) -> Spec:
    """Draw what served under each policy, its trainings and its promotions."""
    start, end = table.starts[0], table.starts[-1] + (table.starts[-1] - table.starts[-2])
    spans, acts = list[NamedSpan](), list[Act]()
    for row in table.rows:
        before = [change.champion for change in row.changes if change.at <= start]
        later = [(change.at, change.champion) for change in row.changes if start < change.at < end]
        steps = [(start, before[-1] if before else 1), *later, (end, 0)]
        for (begin, version), (until, _) in pairwise(steps):
            if until > begin:
                stretch = (from_micros(begin), from_micros(until))
                use = USES[version % len(USES)]
                spans.append(NamedSpan(row=row.name, start=stretch[0], end=stretch[1], use=use, text=str(version)))
        acts += [Act(row=row.name, time=from_micros(each.asked_at)) for each in row.retrained]
        served = [each.served_at for each in row.retrained if each.served_at is not None]
        acts += [Act(row=row.name, time=from_micros(at), what="promote") for at in served]
    whole = Frame(start=from_micros(start), end=from_micros(end), width=frame.width, palette=frame.palette)
    return timelines_panel(spans, acts, whole)
