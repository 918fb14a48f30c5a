"""The verb compare: two versions of a model in money, rates and segments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from trimtab.app.reports.version_comparison import VersionComparison, compare_versions
from trimtab.app.reports.version_measures import Difference
from trimtab.app.reports.version_page import VERDICTS, interval, number, tone, version_page
from trimtab.cli.context import Context, Verbs, print_json
from trimtab.cli.terminal import console, say
from trimtab.cli.views import table
from trimtab.errors import UsageError

app = Verbs()

STDOUT = "-"
TONES = {"good": "green", "bad": "red", "": ""}


@app.verb(json=False)
def compare(
    context: Context,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Model; needed when there are several.")] = None,
    versions: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="A B", help="Compare A with B; the versions that were compared last by default."),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page that stands alone.")] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write the result as JSON; - prints it.")] = None,
) -> None:
    """Compare two versions in money, rates and segments.

    On the predictions that both scored, in windows whose labels are complete, with intervals and what the rule says.
    """
    if versions is not None and versions[0] == versions[1]:
        raise UsageError(f"--versions {versions[0]} {versions[1]}: expected two different versions")
    found = compare_versions(context.workspace, context.workspace.model(model).name, versions)
    if html is not None:
        _write("--html", html, version_page(found))
    if json == STDOUT:
        print_json(found)
        return
    if json is not None:
        _write("--json", Path(json), msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
    _show(found)


def _write(option: str, path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{option} {path}: cannot be written: {error.strerror}") from error
    say(f"written: {path}")


def _show(found: VersionComparison) -> None:
    console.print(f"[bold]{escape(found.sentence)}[/]", soft_wrap=True)
    if found.rule is not None:
        said = f"the rule of the policy: {VERDICTS[found.rule.verdict]}. {found.rule.reason}"
        console.print(escape(said), soft_wrap=True)
    columns = (
        f">version {found.version}",
        f">version {found.against}",
        ">difference",
        f">interval {found.confidence:.0%}",
    )
    made = table(f"{found.labels:,} predictions of both in {found.windows} windows", "measure", *columns)
    for row in (*([found.money] if found.money else []), *found.measures):
        made.add_row(*_cells(row, f"{found.currency} lost a day" if row.unit == "money" else row.name))
    console.print(made)
    if found.segments:
        what = f"{found.currency} lost a day" if found.money else found.metric
        made = table(f"Segments: {what}", "segment", ">rows", *columns)
        for segment in found.segments:
            name, *rest = _cells(segment.money or segment.metric, f"{segment.column} {segment.value}")
            made.add_row(name, f"{segment.rows:,}", *rest)
        console.print(made)


def _cells(row: Difference, name: str) -> list[str]:
    style, gain = TONES[tone(row)], number(row.gain, row.unit, signed=True)
    return [
        escape(name),
        number(row.value, row.unit),
        number(row.against, row.unit),
        f"[{style}]{gain}[/]" if style else gain,
        interval(row),
    ]
