"""Compares served features with what the tables give."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from trimtab.app.stages.feature_audit import SAMPLE, FeatureAudit, audit
from trimtab.cli.context import Context, Verbs, option_time
from trimtab.cli.terminal import console, say
from trimtab.cli.views import table
from trimtab.units import plural

app = Verbs()


@app.verb(name="audit")
def audit_(
    context: Context,
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Model; needed where the project has several.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Answers with an event time from then on; all by default.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Answers with an event time before then.")] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Most answers to compare.")] = SAMPLE,
) -> None:
    """Compute served features again from the tables, and say where each difference comes from.

    Exit code 1: a difference has no known cause.
    """
    ws = context.workspace
    found = audit(
        ws, ws.model(model), since=option_time("--since", since), until=option_time("--until", until), sample=sample
    )
    context.show(found, _show)
    if found.unexplained:
        raise typer.Exit(1)


def _show(found: FeatureAudit) -> None:
    values = sum(found.compared.values())
    differ = sum(each.rows for each in found.differences)
    say(
        f"audit     {found.model}: {found.audited:,} of {plural(found.logged, 'answer')}, "
        f"{plural(len(found.compared), 'feature')} of views; {differ:,} of {plural(values, 'value')} differ"
    )
    if found.not_compared:
        say(f"          not compared, because they come with the request: {', '.join(found.not_compared)}")
    if not found.differences:
        return
    made = table("Differences", "feature", "cause", ">values", ">share", "example")
    for each in found.differences:
        made.add_row(
            escape(each.feature),
            each.cause,
            f"{each.rows:,}",
            f"{each.rows / found.compared[each.feature]:.2%}",
            _example(each.examples[0]) if each.examples else "",
        )
    console.print(made)


def _example(example: Any) -> str:
    entity = ", ".join(f"{name} {value}" for name, value in example.entity.items())
    then = "" if example.then == example.served else f", then {_value(example.then)}"
    return escape(
        f"{entity} at {example.event_time:%Y-%m-%d %H:%M:%S}: served {_value(example.served)}{then}, "
        f"now {_value(example.now)} ({example.prediction_id})"
    )


def _value(value: object) -> str:
    return "none" if value is None else f"{value:.7g}" if isinstance(value, float) else str(value)
