"""The report of a model: is it as good as it should be, since when not, and what was done."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.app.overviews.model_charts import Panel, model_charts
from trimtab.app.overviews.model_overview import DecisionGroup, model_overview
from trimtab.app.overviews.model_windows import TimeRange
from trimtab.app.overviews.wording import count, days, instant, joined, signed
from trimtab.app.pages.page_parts import Cell, Column, Figure, Page, Section, Table, write_page
from trimtab.app.project.workspace import Workspace
from trimtab.charts.theme import Frame
from trimtab.units import plural

MOST_GROUPS = 50
"""Groups of decisions in the table."""


def model_page(workspace: Workspace, name: str, wanted: TimeRange | None = None) -> str:
    """Return the report of a model as one HTML file.

    Args:
        workspace: an open project.
        name: name of the model.
        wanted: stretch of event time; None: the year up to the newest window.

    Raises:
        DefinitionError: there is no such model.
        MissingExtra: the extra `console` is not installed.
    """
    found = model_overview(workspace, name, wanted)
    now = found.now
    panels = model_charts(found, frame=Frame(start=found.since, end=found.until).drawn()) if found.windows else []
    serving = joined([f"version {s.version} {s.role}" for s in now.serving]) or "nothing serves"
    span = f" Windows of {days(found.since, found.until)} UTC." if found.since and found.until else ""
    return write_page(
        Page(
            title=f"Model {now.model}",
            lead=f"Project {workspace.project.policy.project}. In service: {serving}.{span}",
            sentence=now.sentence,
            tone=now.tone if now.tone != "minor" else "pass",
            more=[text for text in (now.frozen, f"Next: {now.next}" if now.next else "") if text],
            facts=[(fact.label, fact.figure, fact.usual) for fact in now.facts],
            sections=[*panel_sections(panels), decided(found.groups, now.currency)],
            foot=[f"As of {instant(workspace.now())}; windows and decisions are named by their UTC bounds."],
        )
    )


def panel_sections(panels: Sequence[Panel]) -> list[Section]:
    """Return a section for each panel."""
    return [
        Section(
            heading=f"{panel.heading}{f', {panel.unit}' if panel.unit else ''}",
            lead=panel.note,
            figures=[Figure(chart=panel.spec)],
        )
        for panel in panels
    ]


def decided(groups: Sequence[DecisionGroup], currency: str) -> Section | None:
    """Return the table of what was decided, newest first."""
    if not groups:
        return None
    more = len(groups) - MOST_GROUPS
    rows = [
        (
            group.name + (f" ({plural(group.windows, 'window')})" if group.windows > 1 else ""),
            Cell(group.band, group.tone),
            group.impact,
            _range(group),
            group.cell,
            group.done,
            group.why,
        )
        for group in groups[:MOST_GROUPS]
    ]
    names = (("Windows", True), ("Band", True), ("Impact", True), (f"{currency} a day", False), ("Policy said", True))
    columns = [*(Column(name, text) for name, text in names), Column("Done", True), Column("Why", True)]
    return Section(
        heading="What was decided",
        lead="Equal neighbours are one row.",
        table=Table(columns, rows),
        foot=f"{count(more)} older rows: trimtab decisions." if more > 0 else "",
    )


def _range(group: DecisionGroup) -> str:
    low, high = signed(group.lowest_per_day), signed(group.highest_per_day)
    return low if low == high else f"{low} to {high}"
