"""The verb that adds points to KPI streams, and shows the streams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from trimtab import settings
from trimtab.app.loop.kpi_points import add_point, declared
from trimtab.app.reports.kpi_by_version import NO_VERSION, VersionKpi, kpi_by_version
from trimtab.app.reports.kpi_streams import kpi_streams, stream_windows
from trimtab.cli.context import Context, Verbs, option_time, require_action
from trimtab.cli.terminal import console, say
from trimtab.cli.views import table
from trimtab.clock import parse_time
from trimtab.errors import UsageError

app = Verbs()

ACTIONS = ("add", "list", "show", "versions")
SHOWN = 20


@app.verb(model=True)
def kpi(
    context: Context,
    action: Annotated[
        str, typer.Argument(metavar="add|list|show|versions", help="add, list, show or versions.")
    ] = "list",
    stream: Annotated[str | None, typer.Argument(help="Name of the stream.")] = None,
    value: Annotated[str | None, typer.Argument(help="Of the point.")] = None,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="Event time; now by default.")] = None,
    entity: Annotated[str | None, typer.Option("--entity", metavar="NAME", help="What the point is about.")] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="Windows to show.")] = SHOWN,
) -> None:
    """Add points to business KPIs, and show their windows.

    Adding a point again changes nothing; another value for the same time, entity and model is refused. `versions` tells
    what followed the answers of each version, by the entities of the points.
    """
    require_action("kpi", action, ACTIONS)
    if action == "list":
        context.show(kpi_streams(context.workspace), _show_streams)
        return
    if stream is None:
        raise UsageError(f"which stream? trimtab kpi {action} STREAM")
    if action == "show":
        declared(context.workspace, stream)
        context.show(stream_windows(context.workspace, stream, model=context.model, last=last), _show_windows)
        return
    if action == "versions":
        _versions(context, stream, last)
        return
    made = add_point(
        context.workspace,
        stream,
        _number(value),
        time=option_time("--at", at) or context.workspace.now(),
        entity=entity,
        model=context.model,
        by=settings.login(),
    )
    context.show(made, lambda made: say(f"added    {made.stream} {made.value:g} at {made.time:%Y-%m-%d %H:%M:%S}"))


def _versions(context: Context, stream: str, last: int) -> None:
    """Show a stream by version, over the last windows of its model."""
    workspace, kpi = context.workspace, declared(context.workspace, stream)
    model = workspace.model(context.model or (kpi.model.name if kpi.model is not None else None))
    windows = stream_windows(workspace, stream, model=model.name, last=last)
    if not windows:
        raise UsageError(f"KPI '{stream}' has no closed window yet; see: trimtab kpi show {stream}")
    start, end = parse_time(windows[-1]["start"]), parse_time(windows[0]["end"])
    found = kpi_by_version(workspace, kpi, model, start, end)
    context.show(found, lambda found: _show_versions(found, kpi.unit))


def _show_versions(found: Sequence[VersionKpi], unit: str) -> None:
    made = table("By version", "version", "role", ">entities", ">points", f">total {unit}", ">per entity", "95 %")
    for each in found:
        version = "no answer before" if each.version == NO_VERSION else str(each.version)
        interval = "-" if each.low is None else f"{each.low:,.6g} to {each.high:,.6g}"
        figures = f"{each.total:,.6g}", f"{each.per_entity:,.6g}", interval
        made.add_row(version, each.role, f"{each.entities:,}", f"{each.points:,}", *figures)
    console.print(made)


def _number(text: str | None) -> float:
    try:
        found = float(text if text is not None else "")
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise UsageError(f"VALUE is {text!r}; expected a number, such as: trimtab kpi add revenue 129.5")
    return found


def _show_streams(found: Sequence[dict[str, Any]]) -> None:
    if not found:
        say("definitions.py declares no KPIs; add one with: tt.Kpi(...)")
        return
    made = table("KPIs", "stream", "model", "from", "alarm", ">windows", "newest", ">value", ">usual", ">p_seq")
    for each in found:
        newest = each["newest"] or {}
        made.add_row(
            each["stream"],
            each["model"],
            each["from"],
            each["alarm"],
            f"{each['windows']:,}",
            newest.get("start", "none yet")[:16].replace("T", " "),
            *_figures(newest),
        )
    console.print(made)


def _show_windows(found: Sequence[dict[str, Any]]) -> None:
    if not found:
        say("no window is closed yet: a window waits for later points, and for the model's own window")
        return
    made = table("Windows", "start", "model", ">version", ">points", ">value", ">usual", ">p_seq")
    for each in found:
        figures = _figures(each)
        start = each["start"][:16].replace("T", " ")
        made.add_row(start, each["model"], str(each["version"] or "-"), f"{each['rows']:,}", *figures)
    console.print(made)


def _figures(signal: dict[str, Any]) -> tuple[str, str, str]:
    """Return value, usual value and p_seq of a signal as text."""
    values = (signal.get("value"), signal.get("effect", {}).get("expected"))
    value, usual = ("-" if each is None else f"{each:,.6g}" for each in values)
    p_seq = signal.get("p_seq")
    return value, usual, "-" if p_seq is None else f"{p_seq:.2g}"
