"""The page of a comparison of two tables."""

from __future__ import annotations

from datetime import timedelta

from trimtab.app.drift.drift_results import ColumnResult, Comparison, RowTestResult, SegmentResult, Side
from trimtab.app.overviews.wording import count, p_value, sentence
from trimtab.app.pages.page_parts import Cell, Column, Figure, Page, Section, Table, write_page
from trimtab.charts.distribution_panels import ColumnShares, column_panel
from trimtab.charts.theme import Frame
from trimtab.charts.window_panels import PValue, p_values_panel
from trimtab.clock import EPOCH
from trimtab.units import plural

MOST_CHARTS = 60
"""Columns that are drawn; the others are in the table alone."""
MOST_NAMED = 8
"""Unusual windows that are named."""
UNUSUAL_P = 0.01
CARD = Frame(width=290, axis=44)
CARD_OF_NAMES = Frame(width=290, axis=96)


def drift_page(found: Comparison) -> str:
    """Return the page. Raises MissingExtra without the extra `console`."""
    return write_page(
        Page(
            title="Drift report",
            lead=found.basis,
            tone="severe" if found.drift else "pass",
            sentence="Drift" if found.drift else "No drift",
            more=[sentence(found.reason)],
            sections=[
                Section(heading="Tables", table=_sides(found)),
                Section(heading="Schema", notes=[change.text for change in found.schema]) if found.schema else None,
                _windows(found),
                _columns(found),
                _distributions(found),
                _segments(found),
                _tests(found),
                _remarks(found),
            ],
            foot=[f"Seed {found.seed}."],
        )
    )


def _sides(found: Comparison) -> Table:
    columns = [
        Column("Table"),
        Column("Path", text=True),
        Column("Rows"),
        Column("Windows"),
        Column("Time (UTC)", True),
    ]
    sides = (("Reference", found.reference), ("Current", found.current))
    return Table(
        columns, [(name, Cell(s.path, code=True), count(s.rows), count(s.windows), _span(s)) for name, s in sides]
    )


def _span(side: Side) -> str:
    return f"{_day(side.start)} to {_day(side.end)}" if side.start and side.end else "-"


def _windows(found: Comparison) -> Section | None:
    judged = [window for window in found.windows if window.tested]
    if not judged:
        return None
    unusual = sorted((window for window in judged if window.p < UNUSUAL_P), key=lambda window: window.p)
    values = [PValue(name=_day(window.start), p=window.p, p_seq=window.p_seq) for window in judged]
    return Section(
        heading=f"Windows of {found.window}",
        lead=f"Dot: p of one window; line: sequential p over all windows so far; dashed: the level {found.level:g}.",
        figures=[Figure(chart=p_values_panel(values, Frame().drawn(), level=found.level))],
        notes=[f"{_day(w.start)}: p {p_value(w.p)}, most in {', '.join(w.top)}" for w in unusual[:MOST_NAMED]],
        foot=f"{plural(len(unusual), 'window')} of {len(judged):,} with a p-value of their own below {UNUSUAL_P:g} "
        "(one in a hundred ordinary windows has one).",
    )


def _columns(found: Comparison) -> Section:
    names = ("p", "share moved", "usual", "PSI", "usual", "Wasserstein sd", "usual", "missing", "was")
    rows = [
        (
            Cell(column.name, "severe" if column.drifted else ""),
            p_value(column.p),
            f"{column.effect.share_moved:.1%}",
            f"{column.usual.share_moved:.1%}",
            f"{column.effect.psi:.3f}",
            f"{column.usual.psi:.3f}",
            _number(column.effect.wasserstein_sd),
            _number(column.usual.wasserstein_sd),
            f"{column.missing:.1%}",
            f"{column.missing_reference:.1%}",
        )
        for column in found.columns
    ]
    return Section(
        heading="Columns",
        lead="Effects of the whole current table. Usual: what 95 % of the reference's own windows do not exceed. "
        "Coloured columns carry the change.",
        table=Table([Column("Column"), *(Column(name) for name in names)], rows),
    )


def _distributions(found: Comparison) -> Section:
    more = len(found.columns) - MOST_CHARTS
    return Section(
        heading="Distributions",
        lead="Bars: share of the current rows; ticks: of the reference. Bins of numbers are drawn with equal widths.",
        figures=[_card(column) for column in found.columns[:MOST_CHARTS]],
        cards=True,
        foot=f"{plural(more, 'more column')} in the table above." if more > 0 else "",
    )


def _card(column: ColumnResult) -> Figure:
    facts = [column.type]
    if column.mean is not None and column.mean_reference is not None:
        facts.append(f"mean {_value(column.mean_reference, column.type)} \u2192 {_value(column.mean, column.type)}")
    if column.missing or column.missing_reference:
        facts.append(f"missing {column.missing_reference:.1%} \u2192 {column.missing:.1%}")
    if column.out_of_range:
        what = "out of range" if column.kind == "ordered" else "not in the reference"
        facts.append(f"{column.out_of_range:.1%} {what}")
    shown = column.histogram
    shares = ColumnShares(
        labels=shown.labels,
        edges=[_value(edge, column.type) for edge in shown.edges],
        now=shown.current,
        reference=shown.reference,
    )
    return Figure(
        heading=column.name,
        lead="; ".join(facts),
        chart=column_panel(shares, CARD_OF_NAMES if shown.labels else CARD, name=column.name),
        note=f"New: {', '.join(column.unseen)}" if column.unseen else "",
        tone="severe" if column.drifted else "",
    )


def _segments(found: Comparison) -> Section | None:
    if not found.segments:
        return None

    def row(segment: SegmentResult) -> tuple[str, ...]:
        rows = (count(segment.rows), count(segment.rows_reference))
        return (segment.name, *rows, p_value(segment.p), f"{segment.share_moved:.1%}", ", ".join(segment.columns))

    names = [Column(name) for name in ("Segment", "Rows", "Reference", "p", "Moved")]
    return Section(
        heading="Segments",
        lead="The rows of each segment against those of the same segment of the reference; p is adjusted for the "
        "number of segments.",
        table=Table([*names, Column("Columns", text=True)], [row(segment) for segment in found.segments]),
    )


def _tests(found: Comparison) -> Section | None:
    if not found.tests:
        return None

    def row(test: RowTestResult) -> tuple[Cell | str, ...]:
        name = Cell(test.column, "severe" if test.alarm else "")
        p = "-" if test.p is None else p_value(test.p)
        return name, test.test, f"{test.statistic:.4g}", p, test.rule, "alarm" if test.alarm else ""

    columns = [Column("Column"), Column("Test", True), Column("Statistic"), Column("p"), Column("Alarms at", True)]
    return Section(
        heading="Usual tests",
        lead="For comparison. They treat rows as independent and take no part in the verdict.",
        table=Table([*columns, Column("", True)], [row(test) for test in found.tests]),
    )


def _remarks(found: Comparison) -> Section | None:
    lines = [*found.notes, *(f"{name} was left out: {why}" for name, why in found.left_out.items())]
    return Section(heading="Remarks", notes=lines) if lines else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _value(value: float, type_: str) -> str:
    """Return a value as people read it: dates and times are microseconds since 1970."""
    if type_.startswith(("timestamp", "date")):
        try:
            return f"{EPOCH + timedelta(microseconds=value):%Y-%m-%d}"
        except OverflowError:
            return f"{value:.4g}"
    return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:.4g}"


def _day(time: str) -> str:
    return time.replace("T00:00:00Z", "").replace("T", " ").removesuffix("Z")
