"""The verb of tables: what there is, and the upkeep of their files."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer
from rich.markup import escape

from trimtab.app.project.kept_tables import TableUpkeep, chosen_tables, compact_tables, vacuum_tables
from trimtab.app.reports.table_facts import TableFacts, TableRow, list_tables, table_facts
from trimtab.cli.context import Context, Verbs, require_action
from trimtab.cli.terminal import console, say
from trimtab.cli.views import table
from trimtab.errors import UsageError
from trimtab.units import MICROS, micros, plural

app = Verbs()

ACTIONS = ("list", "show", "compact", "vacuum")
TIME = "%Y-%m-%d %H:%M"


@app.verb()
def tables(
    context: Context,
    action: Annotated[
        str,
        typer.Argument(metavar="[list|show|compact|vacuum]", help="What to do; list by default."),
    ] = "list",
    name: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Table; show needs it.")] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="TIME|VERSION", help="show: the table as it was; now by default.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", "-n", min=0, help="show: the last rows to show.")] = 5,
    keep: Annotated[
        str | None, typer.Option("--keep", metavar="DURATION", help="vacuum: in place of `tables.keep`, such as 90d.")
    ] = None,
    show_pii: Annotated[bool, typer.Option("--show-pii", help="Show values of columns with personal data.")] = False,
) -> None:
    """List tables, show one, merge small files, or remove old versions.

    A vacuum removes no version that a training set, a report or a hold of the policy names.
    """
    require_action("tables", action, ACTIONS)
    ws = context.workspace
    if action == "list":
        if name is not None:
            raise UsageError(f"trimtab tables list takes no table; trimtab tables show {name}")
        context.show(list_tables(ws), _show_list)
    elif action == "show":
        if name is None:
            raise UsageError("which table? trimtab tables show TABLE; trimtab tables list has the names")
        (one,) = chosen_tables(ws, name)
        context.show(table_facts(ws, one, as_of=as_of, rows=rows, show_pii=show_pii), _show_table)
    elif action == "compact":
        context.show(compact_tables(ws, chosen_tables(ws, name)), _show_upkeep)
    else:
        kept = _kept(keep, ws.project.policy.tables.keep)
        context.show(vacuum_tables(ws, chosen_tables(ws, name), keep=kept), _show_upkeep)


def _kept(option: str | None, policy: int | None) -> timedelta:
    if option is None and policy is None:
        raise UsageError("how long are versions kept? trimtab tables vacuum --keep 90d, or tables.keep in trimtab.yaml")
    try:
        kept = policy if option is None else micros(option)
    except ValueError as error:
        raise UsageError(f"--keep: {error}") from None
    if kept is None or kept < MICROS["d"]:
        raise UsageError(f"--keep {option}: expected 1d or more: a reader that has just opened a version would lose it")
    return timedelta(microseconds=kept)


def _show_list(found: list[TableRow]) -> None:
    if not found:
        say("there are no tables; run: trimtab ingest")
        return
    made = table("Tables", "table", ">version", ">rows", ">columns", "made", "source")
    for one in found:
        made.add_row(
            one.table,
            str(one.version),
            "" if one.rows is None else f"{one.rows:,}",
            str(one.columns),
            f"{one.made_at:{TIME}}" if one.made_at else "",
            one.source,
        )
    console.print(made)


def _show_table(found: TableFacts) -> None:
    columns = table(f"{found.table}@{found.version}: {plural(found.rows, 'row')}", "column", "type", "role", "pii")
    for column in found.columns:
        columns.add_row(escape(column.name), column.type, column.role, "personal data" if column.pii else "")
    console.print(columns)
    versions = table("Versions", ">version", "made", ">rows", ">added", "from", "kept by")
    for one in found.versions:
        kept = one.kept_by if one.readable else "[red]removed by a vacuum[/]"
        versions.add_row(
            str(one.version), f"{one.made_at:{TIME}}", f"{one.rows:,}", f"{one.added_rows:,}", escape(one.source), kept
        )
    console.print(versions)
    for row in found.head:
        console.print(escape(", ".join(f"{name}={value}" for name, value in row.items())), soft_wrap=True)


def _show_upkeep(done: list[TableUpkeep]) -> None:
    say(*[one.reason for one in done] or ["no table has small files to merge, or versions to remove"])
