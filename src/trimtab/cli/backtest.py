"""The verb backtest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from trimtab import settings, units
from trimtab.app.backtest.backtest import Asked
from trimtab.app.backtest.backtest import backtest as run_backtest
from trimtab.app.backtest.kept_results import keep_result
from trimtab.app.backtest.policy_table import Estimate, PolicyRow, PolicyTable
from trimtab.app.operations.backtest_orders import BacktestOrder, new_id
from trimtab.app.pages.backtest_report import backtest_page
from trimtab.app.pages.page_parts import need_pages
from trimtab.cli.context import Context, Verbs, option_time
from trimtab.cli.terminal import console, say, write_file
from trimtab.cli.views import table
from trimtab.errors import UsageError
from trimtab.units import plural

app = Verbs()


@app.verb(json=False)
def backtest(
    context: Context,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Model; needed when there are several.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="First window; the first model is trained as of it.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Rows from here on are left out.")] = None,
    log: Annotated[
        bool, typer.Option("--log", help="Take the prediction log with its labels instead of the labelled examples.")
    ] = False,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", metavar="NAME", help="A policy to try, such as every:7d; may be given several times."),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", metavar="KEY=VALUES", help="Values of a policy key to try; may be given several times."),
    ] = None,
    label_delay: Annotated[
        str | None,
        typer.Option("--label-delay", metavar="TIME", help="Labels become known so long after their rows."),
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Keep the result under this id for the console; a new one by default."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes that run policies at a time.")] = 1,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots.")] = None,
) -> None:
    """Compare policies on the past: what each would have cost.

    Replays a model's history through monitor, controller, gates and comparison, once for each policy. It shows what
    each policy costs and saves, and chooses none.
    """
    asked = Asked(
        names=policy or (),
        vary=vary or (),
        start=option_time("--from", start),
        end=option_time("--to", end),
        log=log,
        label_delay=_delay(label_delay),
        processes=jobs,
    )
    if html is not None:
        need_pages()
    workspace = context.workspace
    found = run_backtest(workspace, workspace.model(model), asked, tell=_tell)
    order = BacktestOrder(
        id=id_ or new_id(workspace.now()), model=found.model, created_at=workspace.now(), by=settings.login(),
        policies=tuple(asked.names), vary=tuple(asked.vary), start=start, end=end, log=log, label_delay=label_delay,
    )  # fmt: skip
    keep_result(workspace, found, order)
    show(found)
    if json is not None:
        write_file("--json", json, msgspec.json.format(msgspec.json.encode(found)).decode())
        say(f"written: {json}")
    if html is not None:
        write_file("--html", html, backtest_page(found))
        say(f"written: {html}")


def _delay(text: str | None) -> int | None:
    try:
        return None if text is None else units.micros(text)
    except ValueError as error:
        raise UsageError(f"--label-delay: {error}") from None


def _tell(name: str, done: int, of: int) -> None:
    typer.echo(f"{done} of {of}: {name}", err=True)


def show(found: PolicyTable) -> None:
    """Print the table, and how to read it."""
    unit = found.currency or found.loss_name
    title = f"Backtest of {found.model}: {plural(found.windows, 'window')}, {found.rows_labelled:,} labelled rows"
    made = table(
        escape(title), "policy", f">{unit} lost", ">saved", ">95 %", ">share of best", ">regret", f">{found.loss_name}",
        ">95 %", ">retrainings", ">promoted", ">no better", ">delay", ">training",
    )  # fmt: skip
    for row in found.rows:
        made.add_row(*map(escape, _cells(row, found)))
    console.print(made)
    for text in explanations(found):
        say(text)


def explanations(found: PolicyTable) -> Sequence[str]:
    """Return how the figures are meant."""
    frontier = ", ".join(row.name for row in found.rows if row.on_frontier)
    return [
        f"saved: against '{found.against}', with {found.level:.0%} intervals of a block bootstrap over windows (blocks "
        f"of {found.block})",
        f"best in hindsight, among these: {found.best}; regret is what it saved beyond a policy",
        f"no other policy of the table is both cheaper and retrains less: {frontier}",
        "no better: retrainings whose model did not beat the one before on the 28 windows that followed",
        *found.remarks,
    ]


def _cells(row: PolicyRow, found: PolicyTable) -> Sequence[str]:
    lost = row.money or row.loss
    return (
        row.name,
        _number(lost.value, found),
        _number(row.saved.value, found),
        _interval(row.saved, found),
        "" if row.share is None else f"{row.share:.2f}",
        _number(row.regret, found),
        f"{row.loss.value:.5g}",
        f"{row.loss.low:.5g} to {row.loss.high:.5g}",
        f"{row.retrainings}" + (f" ({row.refused} refused)" if row.refused else ""),
        str(row.promotions),
        f"{row.false_alarms} of {row.judged}",
        "" if row.delay_days is None else f"{row.delay_days:.1f} d",
        f"{row.training_cost:.4f} ({row.cpu_seconds:.1f} s)",
    )


def _interval(estimate: Estimate, found: PolicyTable) -> str:
    return f"{_number(estimate.low, found)} to {_number(estimate.high, found)}"


def _number(value: float, found: PolicyTable) -> str:
    return f"{value:,.0f}" if found.currency else f"{value:.5g}"
