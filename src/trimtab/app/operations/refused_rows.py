"""Rows that the checks refused: a person releases them into their table, or drops them.

python -m trimtab.app.operations.refused_rows does it for a process that must stay small: an order on standard input,
the result as JSON on standard output.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from trimtab.app.operations.actors import Actor
from trimtab.app.operations.row_orders import RowsHandled, RowsOrder
from trimtab.app.project.project import open_project
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages import quarantined_rows
from trimtab.errors import TrimtabError, UsageError
from trimtab.policy.model import Environment
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


def _obey(order: RowsOrder) -> RowsHandled:
    """Do what an order asks for; when it may be repeated and was done before, return the first result."""
    workspace = Workspace(open_project(Path(order.project)), Environment.model_validate_json(order.environment))
    try:
        if order.verb == "drop":
            return RowsHandled(end=drop_rows(workspace, order.actor, order.batch, rows=order.rows, reason=order.reason))
        end, version = release_rows(
            workspace, order.actor, order.batch, rows=order.rows, reason=order.reason, force=order.force
        )
        return RowsHandled(end=end, version=version.id)
    except UsageError:
        outcome = "dropped" if order.verb == "drop" else "released"
        asked = (outcome, order.reason.strip(), order.actor.name)
        ends = quarantined_rows.find_refused(workspace, order.batch).ends if order.repeatable else ()
        same = (e for e in ends if (e.outcome, e.reason, e.by) == asked)
        first = next((e for e in same if not order.rows or set(order.rows) == set(e.rows)), None)
        if first is None:
            raise
        return RowsHandled(end=first)


def _main() -> int:
    try:
        handled = _obey(msgspec.json.decode(sys.stdin.buffer.read(), type=RowsOrder))
    except TrimtabError as error:
        handled = RowsHandled(error=type(error).__name__, text=str(error))
    sys.stdout.buffer.write(msgspec.json.encode(handled))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
