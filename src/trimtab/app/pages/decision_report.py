"""The report of a decision: the chain from the window to the answer, and why nothing else was done."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.app.overviews.decision_detail import BrakeRow, DecisionDetail, decision_detail
from trimtab.app.overviews.model_charts import Panel, model_charts
from trimtab.app.overviews.model_overview import model_overview
from trimtab.app.overviews.model_windows import TimeRange
from trimtab.app.overviews.wording import (
    count,
    duration,
    instant,
    metric,
    money,
    p_value,
    share,
)
from trimtab.app.pages.model_report import panel_sections
from trimtab.app.pages.page_parts import Cell, Column, Page, Section, Table, write_page
from trimtab.app.project.workspace import Workspace
from trimtab.charts.theme import Frame
from trimtab.records.record import Action

PANELS = ("decisions", "loss", "signals", "p_seq", "money")
"""Charts of the stretch before the decision."""
BEFORE = 60
"""Windows before the decision that are drawn."""
TONES: dict[Action, str] = {"monitor": "pass", "review": "waits", "retrain": "severe", "rollback": "severe"}


def decision_page(workspace: Workspace, model: str, number: int) -> str:
    """Return the report of a decision as one HTML file.

    Raises:
        NotFound: the model has no such decision.
        DefinitionError: there is no such model.
        MissingExtra: the extra `console` is not installed.
    """
    found = decision_detail(workspace, model, number)
    row = found.row
    return write_page(
        Page(
            title=f"{row.model}: decision {row.number}",
            lead=f"Project {workspace.project.policy.project}, version {row.version}. "
            f"Decided at {instant(row.decided_at)}.",
            sentence=found.sentence,
            tone=TONES[row.action],
            more=[found.unlike] if found.unlike else [],
            facts=[
                ("Band", row.band, f"p_seq {p_value(row.p_seq)}"),
                ("Impact", row.impact, f"{money(row.impact_per_day, found.currency, signed=True)} a day"),
                ("Policy said", row.cell, f"by {found.led_by}"),
                ("Done", row.done, f"held back by {row.held_by}" if row.held_by else ""),
                ("State", row.state, row.became),
            ],
            sections=[
                *panel_sections(_panels(workspace, found)),
                _window(found),
                _signals(found),
                _money(found),
                _matrix(found),
                _brakes(found),
                Section(heading="6 What was done", lead=found.what_was_done, notes=found.reasons),
                _answer(found),
                _steps(found),
                _chain(found),
                _why_not(found),
            ],
        )
    )


def _panels(workspace: Workspace, found: DecisionDetail) -> list[Panel]:
    row = found.row
    since = row.start - BEFORE * (row.end - row.start)
    past = model_overview(workspace, row.model, TimeRange(since=since, until=row.end))
    if not past.windows:
        return []
    frame = Frame(start=past.since or since, end=row.end).drawn()
    return [panel for panel in model_charts(past, frame=frame) if panel.id in PANELS]


def _window(found: DecisionDetail) -> Section:
    window = found.window
    if window is None:
        return Section(heading="1 Window and rows", lead="No window was judged: the decision was asked for.")
    rows: list[tuple[str, Cell | str]] = [
        ("Window", window.name),
        ("Version", str(window.version)),
        ("Rows", f"{count(window.rows)}, of which {count(window.served_rows)} served"),
        ("Labels", f"{count(window.labelled)} ({share(window.coverage)})"),
        ("Record", Cell(window.record, code=True)),
        ("Written", instant(window.written_at)),
    ]
    return Section(heading="1 Window and rows", table=_facts(rows))


def _facts(rows: Sequence[tuple[str, Cell | str]]) -> Table:
    return Table([Column("Fact"), Column("Value", True)], rows)


def _signals(found: DecisionDetail) -> Section:
    def known(value: float | None) -> str:
        return "-" if value is None else p_value(value)

    rows = [
        (
            Cell(signal.kind, "waits" if signal.counts else ""),
            signal.subject,
            metric(signal.value),
            known(signal.p),
            known(signal.p_seq),
            count(signal.rows),
            signal.reason,
        )
        for signal in found.signals
    ]
    names = (("Kind", True), ("Subject", True), ("Value", False), ("p", False), ("p_seq", False), ("Rows", False))
    limits = f" Its p-values: {found.p_limits}." if found.p_limits else ""
    return Section(
        heading="2 How unusual",
        lead=f"{found.correction}. Band: {found.row.band}.{limits} Coloured kinds choose the band.",
        table=Table([*(Column(name, text) for name, text in names), Column("In words", True)], rows) if rows else None,
    )


def _money(found: DecisionDetail) -> Section:
    return Section(
        heading="3 What it cost", lead=found.money_reason, table=_facts(found.money) if found.money else None
    )


def _matrix(found: DecisionDetail) -> Section:
    rows = [
        (
            Cell(row.band, row.tone),
            row.p,
            *(
                Cell(f"\u25b6 {action} (here)", TONES[action]) if row.here == level else action
                for level, action in (("low", row.low), ("medium", row.medium), ("high", row.high))
            ),
        )
        for row in found.matrix
    ]
    names = ("Band", "p_seq", "low impact", "medium", "high")
    table = Table([Column(name, text=True) for name in names], rows)
    return Section(heading="4 What the policy said", lead=found.matrix_note, table=table)


def _brakes(found: DecisionDetail) -> Section:
    def row(brake: BrakeRow) -> tuple[Cell | str, ...]:
        state = Cell(brake.state, "moderate" if brake.state == "held back" else "")
        until = "" if brake.until is None else instant(brake.until)
        return brake.word, state, until, brake.reason

    columns = [Column("Brake"), Column("Result", True), Column("Until", True), Column("Why", True)]
    return Section(heading="5 The brakes, in their order", table=Table(columns, [row(brake) for brake in found.brakes]))


def _answer(found: DecisionDetail) -> Section:
    answer = found.answer
    if answer is None:
        what = "It waits for an answer." if found.waits else "None was asked for."
        return Section(heading="7 The answer", lead=what)
    when = instant(answer.created_at)
    return Section(heading="7 The answer", lead=f"{answer.verdict} by {answer.by}, {when}.", notes=[answer.reason])


def _steps(found: DecisionDetail) -> Section:
    if not found.steps:
        return Section(heading="8 The retraining", lead="No retraining belongs to this decision.")
    rows = [
        (step.step, step.outcome, instant(step.at), duration(step.after_s), Cell(step.refers_to or "", code=True))
        for step in found.steps
    ]
    names = (("Step", True), ("Outcome", True), ("At", True), ("After", False), ("Record", True))
    foot = f"It led to revision {found.revision}." if found.revision else ""
    return Section(heading="8 The retraining", table=Table([Column(*name) for name in names], rows), foot=foot)


def _chain(found: DecisionDetail) -> Section:
    row = found.row
    ids = (("Hash", row.hash), ("Hash before", row.previous_hash or "none: the first"), ("Record", row.id))
    fits = found.links or "Computed again: the hash and the links to the decisions before and after it fit."
    return Section(
        heading="9 The chain", lead=fits, table=_facts([(name, Cell(value, code=True)) for name, value in ids])
    )


def _why_not(found: DecisionDetail) -> Section | None:
    if not found.why_not:
        return None
    rows = [(Cell(each.action, TONES[each.action] if each.taken else ""), each.text) for each in found.why_not]
    columns = [Column("Action"), Column("What it would have taken", True)]
    return Section(heading="Why not something else", table=Table(columns, rows))
