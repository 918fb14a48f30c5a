"""Compares versions of views, and computes the values of one anew."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from trimtab.app.stages.view_changes import ViewDiff, backfill, diff_view, diff_views
from trimtab.cli.context import Context, Verbs, option_time
from trimtab.cli.features.catalog import ViewName
from trimtab.cli.terminal import console, say
from trimtab.cli.views import table
from trimtab.units import plural

app = Verbs()


@app.verb(name="diff")
def diff(
    context: Context,
    view: Annotated[str | None, typer.Argument(metavar="[VIEW]", help="Name of a view; all by default.")] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION|BUNDLE",
            help="Such as spend@1a2b3c or delay/3; what serves by default, else the version before.",
        ),
    ] = None,
) -> None:
    """Compare views as they are defined now with an earlier version, or with what a bundle serves by."""
    ws = context.workspace
    found = diff_views(ws, against) if view is None else [diff_view(ws, view, against)]
    context.show(found, _show_diffs)


@app.verb(name="backfill")
def backfill_(
    context: Context,
    view: ViewName,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Keep values from then on alone; all of the past by default.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Take rows that were known by then; now by default.")
    ] = None,
) -> None:
    """Compute the online values of a view anew from its table."""
    done = backfill(context.workspace, view, since=option_time("--since", since), until=option_time("--until", until))
    context.show(
        done,
        lambda done: say(
            f"backfill  {done.version}: {plural(done.changed, 'value')} changed, {done.expired:,} removed; "
            f"complete until {done.until:%Y-%m-%d %H:%M} UTC"
        ),
    )


def _show_diffs(found: list[ViewDiff]) -> None:
    for diff in found:
        if not diff.differs:
            console.print(f"{escape(diff.view)}: as {escape(diff.against or 'no earlier version')}", soft_wrap=True)
            continue
        word = "[yellow]breaking[/]" if diff.breaking else "compatible"
        console.print(f"{escape(diff.view)}: {escape(diff.version)} against {escape(str(diff.against))}: {word}")
        for line in diff.options:
            console.print(f"    {escape(line)}", soft_wrap=True)
        made = table("", "change", "feature", "before", "now")
        for change in diff.features:
            made.add_row(change.change, escape(change.feature), escape(change.before or "-"), escape(change.now or "-"))
        if diff.features:
            console.print(made)
        for bundle in diff.in_service:
            fate = (
                "goes on with its version, which is kept up to date" if diff.lost is None else f"loses it: {diff.lost}"
            )
            console.print(f"    bundle {escape(bundle)} is in service and {escape(fate)}", soft_wrap=True)
