"""The verb of rows that the checks refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape

from trimtab.app.operations.actors import local_actor
from trimtab.app.operations.refused_rows import drop_rows, release_rows
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages import quarantined_rows
from trimtab.cli.context import Context, Verbs, print_json, require_action
from trimtab.cli.terminal import console, say
from trimtab.data.checks import failure_lines
from trimtab.data.personal_data import mask
from trimtab.data.quarantine import ID_CHARACTERS, RefusedBatch, RefusedRow
from trimtab.definitions.personal_columns import personal_columns
from trimtab.errors import UsageError
from trimtab.records.data import CheckReport
from trimtab.units import plural

app = Verbs()

ACTIONS = ("list", "show", "release", "drop")


@app.verb()
def quarantine(
    context: Context,
    action: Annotated[
        str, typer.Argument(metavar="[list|show|release|drop]", help="list, show, release or drop; list by default.")
    ] = "list",
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE|BATCH]", help="Source to list, all by default; or the file or the id of one batch."
        ),
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", "-n", min=0, help="Rows to show: of each source the newest, or of the batch.")
    ] = 10,
    row: Annotated[
        list[int] | None,
        typer.Option("--row", metavar="NUMBER", help="Row to release or drop; all by default."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record; release and drop need it.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Release rows that still fail the checks.")] = False,
    show_pii: Annotated[
        bool, typer.Option("--show-pii", help="Show the values of columns with personal data.")
    ] = False,
) -> None:
    """Show the rows that the checks refused, release them, or drop them.

    `release` checks the rows again and appends them to the table, once.
    """
    ws = context.workspace
    if name is None and action in ws.project.definitions.sources:
        action, name = "list", action
    require_action("quarantine", action, ACTIONS)
    if action == "list":
        _list(context, name, rows, show_pii=show_pii)
        return
    if name is None:
        raise UsageError(f"which batch? trimtab quarantine {action} BATCH; trimtab quarantine list has the ids")
    actor, numbers = local_actor(), row or []
    if action == "show":
        found = quarantined_rows.find_refused(ws, name)
        batch = msgspec.structs.asdict(found.report) | {
            "rows": _masked(ws, found.rows[:rows], show_pii=show_pii),
            "ends": found.ends,
        }
        if context.json:
            print_json(batch)
        else:
            _show_batch(found, _masked(ws, found.rows[:rows], show_pii=show_pii))
    elif action == "release":
        end, version = release_rows(ws, actor, name, rows=numbers, reason=reason, force=force)
        context.show(
            {"end": end, "version": version},
            lambda _: say(f"{plural(len(end.rows), 'row')} of {end.source} released into {version.id} by {end.by}"),
        )
    else:
        dropped = drop_rows(ws, actor, name, rows=numbers, reason=reason)
        context.show(dropped, lambda e: say(f"{plural(len(e.rows), 'row')} of {e.source} dropped by {e.by}"))


def _list(context: Context, source: str | None, rows: int, *, show_pii: bool) -> None:
    ws = context.workspace
    found = quarantined_rows.refused(ws, source, rows=rows)
    files = [report for one in found for report in one.files]
    refused = _masked(ws, [row for one in found for row in one.rows], show_pii=show_pii)
    if context.json:
        print_json({"files": files, "rows": refused})
        return
    if not files:
        console.print("no row and no file was refused, or all were released or dropped")
        return
    for report in files:
        _show_report(report)
    _show_rows(refused)


def _masked(ws: Workspace, rows: Sequence[RefusedRow], *, show_pii: bool) -> list[dict[str, Any]]:
    """Return rows as JSON has them, with the values that may be shown."""
    hidden = () if show_pii else personal_columns(ws.project.definitions)
    found = []
    for row in rows:
        values = {name: mask(name, value, hidden) for name, value in row.values.items()}
        found.append(msgspec.to_builtins(row) | {"values": values})
    return found


def _show_report(report: CheckReport) -> None:
    some = f"{report.failing_rows:,} of {plural(report.rows, 'row')} refused"
    what = "refused whole" if report.verdict == "fail" else some
    where = f"{report.table}: {escape(report.source)}: {what}"
    console.print(f"[yellow]{where}[/]  (batch {report.batch_hash[:ID_CHARACTERS]})", soft_wrap=True)
    for line in failure_lines(report):
        console.print(f"    {escape(line)}", soft_wrap=True)


def _show_rows(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        values = ", ".join(f"{name}={value}" for name, value in row["values"].items())
        state = "" if row["state"] == "held" else f" ({row['state']})"
        console.print(f"{escape(row['file'])} row {row['row']}: {escape(row['reason'])}{state}", soft_wrap=True)
        console.print(f"    {escape(values)}", soft_wrap=True)


def _show_batch(batch: RefusedBatch, rows: Sequence[dict[str, Any]]) -> None:
    _show_report(batch.report)
    _show_rows(rows)
    if len(batch.rows) > len(rows):
        console.print(f"and {plural(len(batch.rows) - len(rows), 'row')} more: --rows {len(batch.rows)}")
    for end in batch.ends:
        forced = ", although they fail the checks" if end.forced else ""
        what = f"{plural(len(end.rows), 'row')} {end.outcome} by {end.by}, {end.created_at:%Y-%m-%d %H:%M} UTC{forced}"
        console.print(f"{what}: {escape(end.reason)}", soft_wrap=True)
