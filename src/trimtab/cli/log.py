"""The verb that looks into the prediction log and compacts it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer

from trimtab.app.loop.scheduled_compaction import compact
from trimtab.app.reports.lineage import latest_label, logged
from trimtab.cli.context import Context, Verbs, print_json, require_action
from trimtab.cli.terminal import say
from trimtab.errors import UsageError

app = Verbs()

ACTIONS = ("compact", "show", "tail")
COLUMNS = ("logged", "prediction", "version", "role", "score")


@app.verb()
def log(
    context: Context,
    action: Annotated[str, typer.Argument(metavar="compact|show|tail", help="compact, show or tail.")],
    prediction_id: Annotated[
        str | None, typer.Argument(metavar="PREDICTION", help="Id of the prediction to show.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="Rows that tail shows.")] = 10,
) -> None:
    """Show rows of the prediction log, or compact it now."""
    require_action("log", action, ACTIONS)
    if (action == "show") != (prediction_id is not None):
        raise UsageError("trimtab log show takes the id of a prediction, and compact and tail take none")
    if action == "compact":
        context.show(compact(context.workspace), lambda done: say(done.reason))
    elif prediction_id is not None:
        _show(context, prediction_id)
    else:
        log = context.workspace.predictions
        newest, _ = log.read(log.tail(rows))
        found = newest.slice(max(newest.num_rows - rows, 0)).to_pylist()
        context.show(found, lambda found: say(*_lines(found)))


def _show(context: Context, prediction_id: str) -> None:
    ws = context.workspace
    found = logged(ws, prediction_id)
    label = latest_label(ws, prediction_id, found[-1]["model"])
    if context.json:
        print_json({"predictions": found, "label": label})
        return
    for row in found:
        for name, value in row.items():
            say(f"{name:<14} {_text(value)}")
        say("")
    say(f"{'label':<14} {_text(label and (label['class_name'] or label['label']))}")


def _lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line a row, narrow enough for 80 columns, and one beneath it where there is more to say."""
    days = {f"{row['logged_at']:%Y-%m-%d}" for row in rows}
    form = "%H:%M:%S" if len(days) == 1 else "%m-%d %H:%M:%S"
    cells = [
        (
            f"{row['logged_at']:{form}}",
            row["prediction_id"],
            f"{row['model']}/{row['version']}",
            row["role"],
            _text(row["score"]),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *cells, strict=True)]
    yield f"newest predictions, {' to '.join(sorted({min(days), max(days)}))} UTC" if rows else "no predictions"
    for line, row in zip([COLUMNS, *cells] if rows else [], [None, *rows], strict=False):
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        notes = [] if row is None else [row["route"] if row["route"] != "split" else "", row["error"] or ""]
        if any(notes):
            yield " " * (widths[0] + 2) + ": ".join(filter(None, notes))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bytes):  # the exact values of typed features
        return str(msgspec.msgpack.decode(value))
    return "" if value is None else str(value)
