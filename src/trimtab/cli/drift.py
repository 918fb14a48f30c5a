"""The verb drift: compares two tables; needs no project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from trimtab.app.drift.comparing import LEVEL, CompareOptions, compare_paths
from trimtab.app.drift.drift_results import ColumnResult, Comparison
from trimtab.app.drift.row_losses import judged_of
from trimtab.app.pages.drift_report import drift_page
from trimtab.app.pages.page_parts import need_pages
from trimtab.cli.context import Verbs, print_json
from trimtab.cli.terminal import console, say, write_file
from trimtab.errors import DataError, UsageError

app = Verbs()

SHOWN = 12
"""Columns that are printed; all of them are in the JSON and on the page."""
STDOUT = "-"


@app.command()
def drift(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="Parquet, CSV, folder, glob or Delta table.")],
    current: Annotated[str, typer.Argument(metavar="CURRENT", help="The table to compare with it.")],
    timestamp: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with the time of a row.")] = None,
    window: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="1h, 1d, ...; without --timestamp a number of rows.")
    ] = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B", help="Compare only these columns.")] = None,
    categories: Annotated[str | None, typer.Option(metavar="A,B", help="Columns whose numbers are codes.")] = None,
    level: Annotated[float, typer.Option(metavar="P", help="Drift when p is below it.")] = LEVEL,
    tests: Annotated[
        str | None, typer.Option(metavar="A,B", help="Also run usual tests: ks, chi2, psi, js, wasserstein, adwin, ...")
    ] = None,
    segments: Annotated[
        str | None, typer.Option(metavar="A,B", help="Also compare the rows of each value of these columns.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="Compare losses, too: binary, multiclass, regression, anomaly.")
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="With --task: the true value.")] = None,
    scores: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="With --task: the score; of classes CLASS=COLUMN,CLASS=COLUMN.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="SCORE", help="With --task anomaly: from it on a row is one.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of what is random.")] = 0,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write the result as JSON; - prints it.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page that stands alone.")] = None,
) -> None:
    """Compare a table with a reference: has something changed, and where?

    Needs no project. Exit code 0 without drift, 1 with drift, 2 when a file or an option is wrong.
    """
    options = CompareOptions(
        timestamp=timestamp,
        window=window,
        columns=_names("--columns", columns),
        categories=_names("--categories", categories) or (),
        level=level,
        tests=_names("--tests", tests) or (),
        segments=_names("--segments", segments) or (),
        judged=None if task is None else judged_of(task, label, scores, threshold),
        seed=seed,
    )
    if html is not None:
        need_pages()
    try:
        found = compare_paths(reference, current, options)
    except DataError as error:  # 1 is drift, so that wrong data is 2
        raise UsageError(str(error)) from error
    if html is not None:
        write_file("--html", html, drift_page(found))
    if json == STDOUT:
        print_json(found)
    else:
        if json is not None:
            write_file("--json", Path(json), msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        _show(found)
    if found.drift:
        raise typer.Exit(1)


def _names(option: str, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError(f"{option}: expected names, such as {option} a,b")
    return names


def _show(found: Comparison) -> None:
    say(f"{'drift' if found.drift else 'no drift'}: {found.reason}", "")
    for name, side in (("reference", found.reference), ("current", found.current)):
        span = f", {side.start} to {side.end}" if side.start else ""
        say(f"{name}: {side.path}: {side.rows:,} rows, {side.windows:,} windows of {found.window}{span}")
    if found.schema:
        say("", *(f"schema: {change.text}" for change in found.schema))
    say("")
    console.print(_table(found.columns[:SHOWN]))
    if len(found.columns) > SHOWN:
        say(f"{len(found.columns) - SHOWN} more columns: --json or --html")
    unusual = sorted((w for w in found.windows if w.tested and w.p < 0.01), key=lambda w: w.p)
    if len(found.windows) > 1:
        say(
            "", f"windows with p below 0.01 of their own: {len(unusual)} of {len(found.windows)} (1 % of ordinary ones)"
        )
        say(*(f"  {w.start}: p {w.p:.2g}, most in {', '.join(w.top)}" for w in unusual[:3]))
    if found.segments:
        say("", f"segments, p adjusted for all {len(found.segments)} of them:")
        for segment in found.segments[:SHOWN]:
            rows = f"{segment.rows:,} rows against {segment.rows_reference:,}"
            carried = f", carried by {', '.join(segment.columns)}" if segment.columns else ""
            say(f"  {segment.name}: p {segment.p:.2g}, {segment.share_moved:.1%} moved, {rows}{carried}")
    if found.tests:
        say("", "usual tests, for comparison; they treat rows as independent and take no part in the verdict:")
        for test in dict.fromkeys(test.test for test in found.tests):
            mine = [each for each in found.tests if each.test == test]
            alarms = [each.column for each in mine if each.alarm]
            say(f"  {test} ({mine[0].rule}): alarms in {len(alarms)} of {len(mine)} columns {', '.join(alarms[:6])}")
    say("", found.basis)
    say(*(f"note: {note}" for note in found.notes))
    say(*(f"left out: {name}: {why}" for name, why in found.left_out.items()))


def _table(columns: tuple[ColumnResult, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("column")
    for head in ("p", "moved", "usual", "PSI", "usual", "missing", "was"):
        table.add_column(head, justify="right")
    table.add_column("")
    for column in columns:
        table.add_row(
            column.name,
            f"{column.p:.2g}",
            f"{column.effect.share_moved:.1%}",
            f"{column.usual.share_moved:.1%}",
            f"{column.effect.psi:.3f}",
            f"{column.usual.psi:.3f}",
            f"{column.missing:.1%}",
            f"{column.missing_reference:.1%}",
            f"{'drift' if column.drifted else ''}{' new: ' + ', '.join(column.unseen[:3]) if column.unseen else ''}",
        )
    return table
