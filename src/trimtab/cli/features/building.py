"""The verb of features: without an action it builds the training set and the online values."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab.app.stages import pipeline
from trimtab.app.stages.view_changes import kept_versions, refuse_lost_views
from trimtab.cli.context import Context, Verbs, option_time
from trimtab.cli.features import auditing, catalog, changes
from trimtab.cli.stages import AsOf, show_dataset
from trimtab.cli.terminal import say

app = Verbs()

Force = Annotated[
    bool, typer.Option("--force", help="Also where a bundle in service loses the values of one of its views.")
]


@app.group(model=True)
def features(context: Context, as_of: AsOf = None, force: Force = False) -> None:
    """Build the training set and the online values; or list, show, compare, audit and find features.

    The training set is point-in-time: it holds what was known at `--as-of`.
    """
    ws, model = context.workspace, context.definition.name
    if not force:
        refuse_lost_views(ws, model)
    found = pipeline.snapshot(ws, model, as_of=option_time("--as-of", as_of) or ws.now())
    context.show(found, show_dataset)
    if not context.json:
        for line in kept_versions(ws, model):
            say(f"          {line}")


features.take(catalog.app, changes.app, auditing.app)
