"""The verb that takes the outcomes in a file as labels, once or again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.app.labels.importing import ImportResult, columns_of, import_file
from trimtab.app.labels.turn_labels import import_turn_labels
from trimtab.cli.context import Context, Verbs
from trimtab.cli.terminal import console
from trimtab.cli.views import counted
from trimtab.data.label_files import OutcomeColumns, column_names
from trimtab.definitions.llm.prompts import Prompt
from trimtab.definitions.models import Model
from trimtab.errors import UsageError, nearest
from trimtab.units import plural

app = Verbs()

KNOWN_AT = "known_at"
PREDICTION_ID = "prediction_id"


@app.verb(model=True)
def labels(
    context: Context,
    file: Annotated[Path, typer.Argument(help="Parquet or CSV file, a row an outcome.")],
    prediction_id: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of the ids of the predictions.")
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of the outcomes.")] = None,
    known_at: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of the times at which they became known.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Name of labels of turns, such as human:quality.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become of the rows.")] = False,
) -> None:
    """Take the outcomes in a file as labels.

    They become labels of a model's predictions, or of a prompt's turns; taking them again changes nothing.
    """
    served = context.served
    if isinstance(served, Prompt):
        given = prediction_id or PREDICTION_ID
        done = import_turn_labels(context.workspace, file, served.name, id_column=given, name=name, dry_run=dry_run)
        context.show(done, lambda done: _show(done, known="known_at" in column_names(file)))
        return
    if name is not None:
        raise UsageError(f"--name is for labels of turns of a prompt; '{served.name}' is a model")
    columns = _columns(context.definition, column_names(file), prediction_id, label, known_at)
    taken = import_file(context.workspace, file, context.definition, columns, dry_run=dry_run)
    context.show(taken, lambda taken: _show(taken, known=columns.known_at is not None))


def _columns(
    model: Model, there: list[str], prediction_id: str | None, label: str | None, known_at: str | None
) -> OutcomeColumns:
    """Return the columns that were named, else those that the model declares, else the usual ones."""
    declared = columns_of(model, model.outcomes) if model.outcomes else None
    if known_at is None:
        usual = [name for name in (declared and declared.known_at, KNOWN_AT) if name in there]
        known_at = usual[0] if usual else None
    chosen = OutcomeColumns(
        prediction_id=prediction_id or (declared.prediction_id if declared else PREDICTION_ID),
        label=label or (declared.label if declared else model.column_of_outcome()),
        known_at=known_at,
    )
    options = {"--prediction-id": chosen.prediction_id, "--label": chosen.label, "--known-at": chosen.known_at}
    for option, name in options.items():
        if name is not None and name not in there:
            raise UsageError(f"{option}: the file has no column '{name}'.{nearest(name, there)}")
    return chosen


def _show(taken: ImportResult, *, known: bool) -> None:
    parts = {"would be taken" if taken.dry_run else "taken": taken.taken, "repeated": taken.repeated}
    parts |= {"contradicting": taken.contradicting, "unmatched": taken.unmatched}
    parts["without an outcome yet"] = taken.waiting
    console.print(f"labels    {taken.model}: {plural(taken.rows, 'row')}: {counted(parts)}", soft_wrap=True)
    if taken.unmatched:
        console.print("          unmatched: no prediction of the model in the log has the id", soft_wrap=True)
    if not known:
        console.print("          known now, since no column says when; name one with --known-at", soft_wrap=True)
