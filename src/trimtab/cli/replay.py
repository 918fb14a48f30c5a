"""The verbs replay, with its live view, and demo: an example project, from nothing to months of live traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from trimtab import settings
from trimtab.app.backtest.backtest import Asked, backtest
from trimtab.app.backtest.kept_results import keep_result
from trimtab.app.ingestion.streaming import stream as run_streams
from trimtab.app.operations.backtest_orders import BacktestOrder, new_id
from trimtab.app.project import templates
from trimtab.app.project.broker import start_broker
from trimtab.app.project.process_files import Stop
from trimtab.app.project.workspace import Workspace
from trimtab.app.replay.replay import Replay, Tally
from trimtab.app.replay.session import ReplayOptions, run_replay, running_loop
from trimtab.app.reports.summary import summarise
from trimtab.app.reports.version_comparison import compare_versions
from trimtab.cli.context import Context, Verbs, option_time
from trimtab.cli.stages import run_all
from trimtab.cli.terminal import console, heading, say
from trimtab.cli.views import ACTION_STYLE, quality, show_comparison, show_summary, table
from trimtab.clock import parse_time
from trimtab.control.decision import counted_reason
from trimtab.errors import UsageError, nearest
from trimtab.records.control import Decision, WorkflowStep
from trimtab.records.monitoring import WindowReport
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import latest
from trimtab.units import plural

app = Verbs()

SHOWN_DECISIONS = 3
SHOWN_STEPS = 6
ENVIRONMENT = "local"
CALENDARS = {"never": "never retrain", "every:28d": "every 28 days", "every:7d": "every 7 days"}
"""Policies that the demo's loop is compared with, by their names in a backtest."""
"""Of a demo."""


@app.verb(model=True, json=False)
def replay(
    context: Context,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="Start of the replay, in event time.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="Event time at which to stop.")],
    up: Annotated[bool, typer.Option("--up/--no-up", help="Start `trimtab up` for the replay when it is off.")] = True,
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve reviews as they come, as a person at the desk would.")
    ] = False,
    measured: Annotated[
        bool,
        typer.Option(
            "--measured",
            help="Let latency, processor time and the gateway's guard decide, too. The result then depends on this "
            "machine.",
        ),
    ] = False,
) -> None:
    """Play a table as live traffic in event time.

    The table is that of a model's examples. At the end the replay shows what the loop did.
    """
    first, last = option_time("--from", start), option_time("--to", end)
    assert first is not None
    assert last is not None
    if last <= first:
        raise UsageError(f"--to {end} must be later than --from {start}")
    show_replay(
        context,
        ReplayOptions(
            environment=context.env, start=first, end=last, start_loop=up, approve=approve, measured=measured
        ),
    )


def show_replay(context: Context, options: ReplayOptions) -> None:
    """Replay with a live view, and print the summary. Exit code 1 when a request failed, 130 when it was stopped."""
    workspace, model = context.workspace, context.definition
    stop = Stop()
    stop.install()
    tally = run_replay(
        workspace,
        model,
        options,
        stopping=stop,
        warn=lambda text: console.print(text, style="yellow", soft_wrap=True, markup=False),
        view=lambda play: live_view(workspace, model.name, play),
    )
    show_summary(console, summarise(workspace, model.name), failed=tally.failed + tally.labels_failed)
    for error in tally.errors:
        console.print(f"failed: {error}", style="red", soft_wrap=True, markup=False)
    if tally.failed or tally.labels_failed:
        raise typer.Exit(1)
    if stop.requested:
        console.print("stopped before the end; the same command goes on from here")
        raise typer.Exit(130)


def _show_other_policies(context: Context, *, start: datetime, end: datetime) -> None:
    """Print what the mistakes of the loop cost, and those of never retraining and of two calendars, on a backtest."""
    workspace, model = context.workspace, context.definition
    asked = Asked(names=list(CALENDARS), start=start, end=end)
    found = backtest(workspace, model, asked, tell=lambda name, done, of: say(f"{CALENDARS[name]}: {done} of {of}"))
    order = BacktestOrder(
        id=new_id(workspace.now()), model=model.name, created_at=workspace.now(), by=settings.login(),
        policies=tuple(asked.names), start=start.isoformat(), end=end.isoformat(),
    )  # fmt: skip
    keep_result(workspace, found, order)
    own = summarise(workspace, model.name).comparison
    made = table("", "policy", ">trainings", f">{found.currency or ''} lost", ">saved", ">95 % interval")
    for row in found.rows:
        lost, saved = row.money or row.loss, row.saved
        interval = f"{saved.low:,.0f} to {saved.high:,.0f}" if row.name != found.against else ""
        made.add_row(CALENDARS[row.name], str(row.retrainings), f"{lost.value:,.0f}", f"{saved.value:,.0f}", interval)
    if own is not None and own.loop_money_lost is not None and found.rows[0].money is not None:
        trained = workspace.metadata.count(Bundle, model=model.name) - 1
        saved_by_loop = found.rows[0].money.value - own.loop_money_lost
        made.add_row("the loop, as it ran", str(trained), f"{own.loop_money_lost:,.0f}", f"{saved_by_loop:,.0f}", "")
    console.print(made)


def _feed(context: Context, *, until: datetime) -> None:
    """Send the rows of a template over the broker of this machine, and land them. Does nothing once it is done."""
    workspace = context.workspace
    if not templates.is_sent(workspace.project.folder):
        start_broker(workspace)
        say(templates.produce(workspace.project.folder, "--to", until.isoformat()))
    run_streams(workspace, until_caught_up=True, values=False, say=say)


def _show_versions_and_stream(context: Context, options: Sequence[str]) -> None:
    """Compare the versions of the model in money, and let some rows flow in real time, each scored before it lands."""
    workspace = context.workspace
    if workspace.metadata.count(Bundle, model=context.definition.name) > 1:
        show_comparison(console, compare_versions(workspace, context.definition.name, None))
    with running_loop(workspace, ENVIRONMENT, start=True):
        say(templates.produce(workspace.project.folder, *options))


@contextmanager
def live_view(workspace: Workspace, model: str, play: Replay) -> Iterator[Callable[[Tally], None]]:
    """Show what serves, what the loop did last, and a bar that the given function moves."""
    bar = Progress(
        TextColumn("{task.fields[time]}"),
        BarColumn(bar_width=40),
        TextColumn("{task.completed:,} of {task.total:,} requests"),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
    )
    task = bar.add_task("", total=play.rows.height, time="", failed=0)

    def tell(tally: Tally) -> None:
        shown = f"{tally.event_time:%Y-%m-%d}" if tally.event_time else "nothing new"
        bar.update(task, completed=tally.sent, failed=tally.failed, time=shown)

    try:
        with Live(Group(LoopView(workspace, model), bar), console=console, refresh_per_second=4):
            yield tell
    finally:
        if not console.is_terminal:  # rich ends the last line on a terminal alone
            console.line()


class LoopView:
    """Renders what serves and the newest records of one model whenever it is drawn."""

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
            labels = plural(matured.labelled, "label")
            shown = f"{matured.start:%Y-%m-%d}  {labels}  {quality(matured.metrics)}"
            yield Text.from_markup(f"[bold]window[/]   {shown}")
        lines = table("", "when", "what", "why")
        acted = ("review", "retrain", "rollback")
        for decision in self._metadata.find(Decision, model=self._model, action=acted, limit=SHOWN_DECISIONS):
            style = ACTION_STYLE[decision.action]
            lines.add_row(f"{decision.start:%m-%d}", f"[{style}]{decision.action}[/]", escape(counted_reason(decision)))
        for step in self._metadata.find(WorkflowStep, model=self._model, limit=SHOWN_STEPS):
            lines.add_row("", step.step, escape(step.outcome))
        if lines.row_count:
            yield lines


@app.command()
def demo(
    template: Annotated[str, typer.Argument(help="Name of the template: flights, bikes, fraud.")] = "flights",
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the project.")] = Path("demo"),
    until: Annotated[str | None, typer.Option(metavar="TIME", help="End of the replay.")] = None,
) -> None:
    """Make an example project, run the loop on it, and show what it did.

    Trains on the first months of the data, replays the months after them as live traffic with reviews left open, and
    compares what the mistakes of the loop cost with never retraining, and with retraining by the calendar. The rows of
    fraud come over a broker; at its end champion and challenger are compared, and payments are scored in real time.
    """
    if template not in templates.DEMOS:
        raise UsageError(f"no demo '{template}'.{nearest(template, templates.DEMOS)}")
    shown = templates.DEMOS[template]
    heading("1 of 4  The project and its data")
    templates.init(template, into)
    context = Context(project=into, env=ENVIRONMENT)
    console.print(f"{context.workspace.project.folder}: trimtab.yaml, definitions.py, checks.py, data/", soft_wrap=True)
    start, end = parse_time(shown.trained_on_until), parse_time(until or shown.end)
    if shown.live:
        _feed(context, until=end)
    heading("2 of 4  ingest, validate, features, train, evaluate, register, deploy")
    run_all(context.workspace, context.definition.name, as_of=start, measured=False)
    heading("3 of 4  what came after as live traffic, with the loop on and reviews left open")
    show_replay(context, ReplayOptions(environment=ENVIRONMENT, start=start, end=end))
    if shown.live:
        heading("4 of 4  champion and challenger in money, and payments in real time")
        _show_versions_and_stream(context, shown.live)
    else:
        heading("4 of 4  the same rows under other policies")
        _show_other_policies(context, start=start, end=end)
    console.print(
        f"\nLook closer:  trimtab console -p {into}   trimtab status -p {into}   "
        f"trimtab lineage -p {into} {shown.prediction}",
        soft_wrap=True,
    )
