"""Reads of rows of tables and quarantines for pages, in the child process of `child_reader.py`."""

from __future__ import annotations

from typing import Any

from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.table_facts import TableFacts, table_facts
from trimtab.app.stages.quarantined_rows import find_refused
from trimtab.data.personal_data import mask
from trimtab.definitions.personal_columns import personal_columns
from trimtab.stores.predictions.contract import START

SHOWN_ROWS = 100
"""Most rows that a page shows."""


def last_rows(workspace: Workspace, table: str, as_of: str | None, rows: int) -> TableFacts:
    """Return the facts and the last rows of a version of a table. Raises as `table_facts`."""
    return table_facts(workspace, table, as_of=as_of, rows=min(rows, SHOWN_ROWS), show_pii=False)


def held_rows(workspace: Workspace, batch: str) -> list[dict[str, Any]]:
    """Return the first rows of a quarantined batch, without values of personal data. Raises as `find_refused`."""
    found = find_refused(workspace, batch)
    pii = personal_columns(workspace.project.definitions)
    return [
        {
            "row": row.row,
            "reason": row.reason,
            "state": row.state,
            "values": {name: mask(name, value, pii) for name, value in row.values.items()},
        }
        for row in found.rows[:SHOWN_ROWS]
    ]


def log_span(workspace: Workspace) -> dict[str, Any]:
    """Return how many predictions the log has, and when the first and the last were logged."""
    found = workspace.predictions.count().predictions
    if not found:
        return {"predictions": 0}
    first, _ = workspace.predictions.read(START, limit=1)
    last, _ = workspace.predictions.read(workspace.predictions.tail(1))
    times = [column.to_pylist() for column in (first["logged_at"].slice(0, 1), last["logged_at"])]
    return {"predictions": found, "first": times[0][0], "last": times[1][-1]}
