"""The KPI streams of a project and their windows. Read from the stores alone."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.definitions.kpis import Kpi
from trimtab.monitoring.kpi_windows import stream_signals


def kpi_streams(workspace: Workspace) -> list[dict[str, Any]]:
    """Return each stream once for each model that it belongs to, with its newest window."""
    found = []
    for kpi in workspace.project.definitions.kpis.values():
        for model in models_of(workspace, kpi):
            signals = stream_signals(workspace.metadata, model, kpi.name)
            found.append(
                {
                    "stream": kpi.name,
                    "model": model,
                    "from": kpi.origin,
                    "alarm": "when it falls" if kpi.higher_is == "better" else "when it rises",
                    "aggregation": kpi.aggregation,
                    "unit": kpi.unit,
                    "windows": len(signals),
                    "newest": msgspec.to_builtins(signals[0]) if signals else None,
                }
            )
    return found


def stream_windows(workspace: Workspace, name: str, *, model: str | None, last: int) -> list[dict[str, Any]]:
    """Return the last windows of a declared stream, newest first. model: None takes all that it belongs to."""
    tied = models_of(workspace, workspace.project.definitions.kpis[name])
    if model is not None:
        tied = tuple(each for each in tied if each == workspace.served(model).name)
    found = [signal for each in tied for signal in stream_signals(workspace.metadata, each, name)[:last]]
    return [msgspec.to_builtins(s) for s in sorted(found, key=lambda s: s.start, reverse=True)[:last]]


def models_of(workspace: Workspace, kpi: Kpi) -> tuple[str, ...]:
    """Return the models that a stream belongs to."""
    return tuple(workspace.project.definitions.served) if kpi.model is None else (kpi.model.name,)
