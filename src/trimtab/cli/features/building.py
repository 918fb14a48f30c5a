"""The verb of features: without an action it builds the training set and the online values."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab.app.project.kept_tables import tables_as_of
from trimtab.app.stages import pipeline
from trimtab.app.stages.feature_checks import feature_report
from trimtab.app.stages.view_changes import kept_versions, refuse_lost_views
from trimtab.cli.context import Context, Verbs, option_time
from trimtab.cli.features import auditing, catalog, changes, importing_feast
from trimtab.cli.stages import show_dataset
from trimtab.cli.terminal import say

app = Verbs()

AsOfOrVersion = Annotated[
    str | None,
    typer.Option("--as-of", metavar="TIME|VERSION", help="Use nothing that became known later; now by default."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Also where a bundle in service loses the values of one of its views.")
]


@app.group(model=True, stage=True)
def features(context: Context, as_of: AsOfOrVersion = None, force: Force = False) -> None:
    """Build the training set and the online values; or list, show, compare, audit and find features.

    The training set is point-in-time: it holds what was known at `--as-of`. With a version of a table, such as
    flights@3, it is made of the tables as they were when that version was.
    """
    ws, model = context.workspace, context.definition.name
    if not force:
        refuse_lost_views(ws, model)
    if as_of is not None and "@" in as_of:
        tables, time = tables_as_of(ws, ws.model(model).source_tables, as_of)
        found = pipeline.snapshot(ws, model, as_of=time, tables=tables)
    else:
        found = pipeline.snapshot(ws, model, as_of=option_time("--as-of", as_of) or ws.now())
    context.show(found, lambda found: show_dataset(found, feature_report(ws, found)))
    if not context.json:
        for line in kept_versions(ws, model):
            say(f"          {line}")


features.take(catalog.app, changes.app, auditing.app, importing_feast.app)
