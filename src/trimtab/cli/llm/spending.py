"""The verb of what prompts cost: by scope and period, and turns that wait for their settlement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from trimtab.app.llm.spend.settlement import Settled, assumed_turns, settle_file
from trimtab.app.llm.spend.spend_report import ScopeSpend, SpendReport, spend_report
from trimtab.app.llm.spending import spend_store
from trimtab.cli.context import Context, Verbs, require_action
from trimtab.cli.terminal import console, say
from trimtab.cli.views import table
from trimtab.errors import UsageError
from trimtab.units import plural

app = Verbs()

ACTIONS = ("show", "assumed", "settle")


@app.verb()
def spend(
    context: Context,
    action: Annotated[str, typer.Argument(metavar="show|assumed|settle", help="show, assumed or settle.")] = "show",
    file: Annotated[Path | None, typer.Argument(help="With settle: CSV or JSON lines with id and cost.")] = None,
    scope: Annotated[
        str | None, typer.Option("--scope", metavar="NAME", help="Only this one, such as prompt:triage.")
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="Newest periods of each scope.")] = 1,
) -> None:
    """Show what prompts have cost and what their budgets still hold, or settle turns whose end is not known.

    `assumed` lists turns that were in flight when a gateway died; they count at the most that they could cost. `settle`
    takes their cost from a file, such as the export of a provider.
    """
    require_action("spend", action, ACTIONS)
    if action == "settle":
        if file is None:
            raise UsageError("which file? trimtab spend settle FILE, with the columns id and cost")
        currency = context.workspace.project.policy.impact.currency
        context.show(settle_file(context.workspace, file), lambda done: _show_settled(done, currency))
        return
    if file is not None:
        raise UsageError(f"trimtab spend {action} takes no file; to settle turns: trimtab spend settle {file}")
    if action == "assumed":
        with closing(spend_store(context.workspace)) as store:
            context.show(assumed_turns(store), _show_assumed)
        return
    context.show(spend_report(context.workspace, scope=scope, last=last), _show)


def _show(found: SpendReport) -> None:
    if not found.scopes:
        say("no turn has cost anything yet")
        return
    made = table(
        "Spend", "scope", "from", f">spent {found.currency}", ">of", ">held", ">calls", "by purpose", "by usage"
    )
    for each in found.scopes:
        made.add_row(
            each.scope,
            "always" if each.start is None else f"{each.start:%Y-%m-%d %H:%M}",
            _money(each.spent),
            "-" if each.limit is None else _money(each.limit),
            _money(each.held),
            f"{each.calls:,}",
            _parts(each.by_purpose),
            _usage(each),
        )
    console.print(made)
    if found.assumed_turns:
        say(f"{plural(found.assumed_turns, 'turn')} count at their bound; see: trimtab spend assumed")


def _usage(each: ScopeSpend) -> str:
    shares = [f"{name} {cost / each.spent:.1%}" for name, cost in each.by_usage.items()] if each.spent else []
    return ", ".join(shares) or "-"


def _parts(costs: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {_money(cost)}" for name, cost in costs.items()) or "-"


def _money(amount: float) -> str:
    return f"{amount:,.6g}"


def _show_assumed(found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        say("no turn waits for its settlement")
        return
    made = table("Turns that count at their bound", "id", "at", "purpose", ">bound", "scopes")
    for each in found:
        made.add_row(each["id"], each["at"][:19], each["purpose"], _money(each["cost"]), ", ".join(each["scopes"]))
    console.print(made)


def _show_settled(done: Settled, currency: str) -> None:
    say(
        f"settled  {plural(done.settled, 'turn')}: {_money(done.before)} {currency} were held for them, "
        f"{_money(done.after)} {currency} they cost"
    )
    if done.unknown:
        say(f"         {plural(done.unknown, 'row')} of turns that do not wait for a settlement")
