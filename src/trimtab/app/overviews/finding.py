"""From a name or an id to the page that shows it."""

from __future__ import annotations

from urllib.parse import quote

from trimtab.app.project.workspace import Workspace
from trimtab.records.data import TableVersion
from trimtab.records.training import Bundle, Run
from trimtab.stores.metadata.contract import latest

MOST_RUNS = 2000
SHORTEST_RUN = 4
"""Letters of the id of a run that are enough to look for it."""


def find_page(workspace: Workspace, text: str) -> str | None:
    """Return the path of the page of a model, version, decision, table, feature view or run, or None."""
    definitions = workspace.project.definitions
    if text in definitions.served:
        return f"/models/{quote(text)}"
    model, _, rest = text.partition("/")
    if model in definitions.served and rest.startswith("decision/"):
        return f"/models/{quote(model)}/decisions/{quote(rest.removeprefix('decision/'))}"
    if model in definitions.served and rest.isdigit() and latest(workspace.metadata, Bundle, model=model):
        return f"/models/{quote(model)}/versions/{rest}"
    if text in definitions.sources and latest(workspace.metadata, TableVersion, table=text):
        return f"/data/tables/{quote(text)}"
    if text in definitions.views or any(text in view.feature_names for view in definitions.views.values()):
        return f"/data?find={quote(text)}"
    if len(text) >= SHORTEST_RUN:
        runs = workspace.metadata.find(Run, limit=MOST_RUNS)
        if found := next((run for run in runs if run.id.startswith(text)), None):
            return f"/experiments/{quote(found.id)}"
    return None
