"""Rows that the checks refused: a person releases them into their table, or drops them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from trimtab.app.operations.actors import Actor
from trimtab.app.operations.own_process import RowsHandled
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages import quarantined_rows
from trimtab.errors import UsageError
from trimtab.records.data import QuarantineEnd, TableVersion


def release_rows(
    workspace: Workspace, actor: Actor, batch: str, *, rows: Sequence[int], reason: str, force: bool = False
) -> tuple[QuarantineEnd, TableVersion]:
    """Release held rows of a batch; return the answer, and the version that has the rows.

    Raises Forbidden below developer, and as `quarantined_rows.release_rows`.
    """
    actor.require("developer")
    return quarantined_rows.release_rows(workspace, batch, rows=rows, reason=reason, by=actor.name, force=force)


def drop_rows(workspace: Workspace, actor: Actor, batch: str, *, rows: Sequence[int], reason: str) -> QuarantineEnd:
    """Drop held rows of a batch. Raises Forbidden below developer, and as `quarantined_rows.drop_rows`."""
    actor.require("developer")
    return quarantined_rows.drop_rows(workspace, batch, rows=rows, reason=reason, by=actor.name)


def handle_rows(
    workspace: Workspace,
    actor: Actor,
    *,
    verb: Literal["release", "drop"],
    batch: str,
    rows: Sequence[int],
    reason: str,
    force: bool,
    again: bool,
) -> RowsHandled:
    """Release or drop held rows. again: what was done before in the same words is returned, not refused."""
    try:
        if verb == "drop":
            return RowsHandled(end=drop_rows(workspace, actor, batch, rows=rows, reason=reason))
        end, version = release_rows(workspace, actor, batch, rows=rows, reason=reason, force=force)
        return RowsHandled(end=end, version=version.id)
    except UsageError:
        asked = ("dropped" if verb == "drop" else "released", reason.strip(), actor.name)
        ends = quarantined_rows.find_refused(workspace, batch).ends if again else ()
        same = (e for e in ends if (e.outcome, e.reason, e.by) == asked)
        first = next((e for e in same if not rows or set(rows) == set(e.rows)), None)
        if first is None:
            raise
        return RowsHandled(end=first)
