"""The live view of a replay: what serves, and the last things the loop did."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.text import Text

from trimtab.app.loop.event_lines import counted_reason
from trimtab.app.project.workspace import Workspace
from trimtab.cli.views import ACTION_STYLE, quality, table
from trimtab.records.control import Decision, WorkflowStep
from trimtab.records.monitoring import WindowReport
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import latest

LINES = 6


class LoopView:
    """Renders the newest records of one model whenever it is drawn."""

    def __init__(self, workspace: Workspace, model: str) -> None:
        self._metadata = workspace.metadata
        self._model = model

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        revision = latest(self._metadata, Revision, model=self._model)
        if revision:
            roles = "   ".join(f"{a.role} v{a.version} {a.weight:g} %" for a in revision.assignments)
            yield Text.from_markup(f"[bold]serving[/]  {roles}   [dim](revision {revision.number})[/]")
        matured = latest(self._metadata, WindowReport, model=self._model, stage="matured", role="champion")
        if matured:
            shown = quality(matured.metrics)
            yield Text.from_markup(f"[bold]window[/]   {matured.start:%Y-%m-%d}  {matured.labelled:,} labels  {shown}")
        lines = table("", "when", "what", "why")
        for decision in self._metadata.find(
            Decision, model=self._model, action=("review", "retrain", "rollback"), limit=3
        ):
            style = ACTION_STYLE[decision.action]
            why = escape(counted_reason(decision))
            lines.add_row(f"{decision.start:%m-%d}", f"[{style}]{decision.action}[/]", why)
        for step in self._metadata.find(WorkflowStep, model=self._model, limit=LINES):
            lines.add_row("", step.step, escape(step.outcome))
        if lines.row_count:
            yield lines
