"""The verb that looks into the prediction log, compacts it, and erases text of turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer

from trimtab.app.loop.scheduled_compaction import compact
from trimtab.app.operations.actors import command_actor
from trimtab.app.operations.erasing import erase_text
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.lineage import latest_label, logged
from trimtab.cli.context import Context, Verbs, print_json, require_action
from trimtab.cli.terminal import say
from trimtab.errors import UsageError
from trimtab.stores.predictions.contract import ErasedBy
from trimtab.units import plural

app = Verbs()

ACTIONS = ("compact", "erase", "show", "tail")
SHOWN_CHARS = 100
"""Characters of a question or an answer that `tail` shows."""
COLUMNS = ("logged", "prediction", "version", "role", "score")


@app.verb()
def log(
    context: Context,
    action: Annotated[str, typer.Argument(metavar="compact|erase|show|tail", help="compact, erase, show or tail.")],
    prediction_id: Annotated[
        str | None, typer.Argument(metavar="PREDICTION", help="Id of the prediction or turn to show or erase.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="Rows that tail shows.")] = 10,
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="Whose text is erased.")] = None,
    conversation: Annotated[str | None, typer.Option("--conversation", metavar="ID", help="Of which it is.")] = None,
    tenant: Annotated[str, typer.Option("--tenant", metavar="TOKEN", help="With which both came.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why text is erased, for the record.")] = "",
) -> None:
    """Show rows of the prediction log, compact it, or erase the text of turns."""
    require_action("log", action, ACTIONS)
    if action == "erase":
        _erase(context, {"prediction_id": prediction_id, "user": user, "conversation": conversation}, tenant, reason)
        return
    if user or conversation or tenant or reason:
        raise UsageError("--user, --conversation, --tenant and --reason go with: trimtab log erase")
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
        texts = _texts(context.workspace, found)
        shown = [row | texts[row["prediction_id"]] if row["prediction_id"] in texts else row for row in found]
        context.show(shown, lambda shown: say(*_lines(shown)))


def _erase(context: Context, subjects: Mapping[ErasedBy, str | None], tenant: str, reason: str) -> None:
    given = [(column, name) for column, name in subjects.items() if name]
    if len(given) != 1:
        raise UsageError("whose text? trimtab log erase PREDICTION, or --user ID or --conversation ID, --tenant TOKEN")
    (column, name), ws = given[0], context.workspace
    done = erase_text(ws, command_actor(ws), column, name, reason=reason, tenant=tenant)
    hint = "" if done.rows or tenant else "; with tokens, name the one that it came with: --tenant TOKEN"
    context.show(done, lambda done: say(f"{plural(done.rows, 'text')} erased; turns, labels and counts stay{hint}"))


def _texts(workspace: Workspace, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return question and answer, as they are kept, of the rows that are turns of a prompt."""
    found = {}
    for row in rows:
        if row["model"] in workspace.project.definitions.prompts:
            parts = [
                (part["part"], part["text"] or "")
                for part in workspace.predictions.find_contents(row["prediction_id"])
                if part["mode"] != "hash" and part["version"] == row["version"]
            ]
            asked = [text for part, text in parts if part.endswith(".user") or part.startswith("variables.")]
            answers = [text for part, text in parts if part == "answer"]
            both = {"question": asked[-1:], "answer": answers[-1:]}
            found[row["prediction_id"]] = {name: texts[0] for name, texts in both.items() if texts}
    return found


def _show(context: Context, prediction_id: str) -> None:
    ws = context.workspace
    found = logged(ws, prediction_id)
    label = latest_label(ws, prediction_id, found[-1]["model"])
    turns, contents = ws.predictions.find_turns(prediction_id), ws.predictions.find_contents(prediction_id)
    labels = ws.predictions.find_labels(prediction_id) if turns else []
    if context.json:
        of_turn = {"turns": turns, "contents": contents, "labels": labels} if turns else {}
        print_json({"predictions": found, "label": label, **of_turn})
        return
    for row in turns:
        for name, value in row.items():
            if name == "cost_pico":
                name, value = "cost", value / 1e12
            if value is not None and name not in ("prediction_id", "model", "version"):
                say(f"{name:<18} {_text(value)}")
        say("")
    for part in contents:
        text = part["text"] if part["mode"] != "hash" else f"{part['chars']} characters, HMAC {part['text'][:16]}..."
        say(f"{part['part']} ({part['mode']}):", f"  {text}")
    for each in labels:
        rater = f" by {each['rater']}" if each["rater"] else ""
        say(f"label {each['name'] or ''}{rater}: {_text(each['label'])}, known {_text(each['known_at'])}")
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
        for name in ("question", "answer"):
            if row is not None and name in row:
                text = " ".join(row[name].split())
                yield f"{' ' * (widths[0] + 2)}{name}: {text[:SHOWN_CHARS]}{'...' if len(text) > SHOWN_CHARS else ''}"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bytes):  # the exact values of typed features
        return str(msgspec.msgpack.decode(value))
    return "" if value is None else str(value)
