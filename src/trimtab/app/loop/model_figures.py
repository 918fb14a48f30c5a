"""What the loop has come to for each model, in a few numbers for the gateway's metrics."""

from __future__ import annotations

from typing import get_args

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.clock import to_micros
from trimtab.control.reviews import pending_reviews
from trimtab.metric_catalog import BY_TASK
from trimtab.records.control import Decision
from trimtab.records.loop_pulse import ModelFigures
from trimtab.records.monitoring import Signal, WindowReport
from trimtab.records.record import Action
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import latest
from trimtab.units import MICROS

ACTIONS: tuple[Action, ...] = get_args(Action)
KINDS = ("concept", "data", "prediction")
"""Kinds of signals that choose the band of a decision."""


class FiguresReader:
    """Reads the figures of all models, anew when a record was written."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._positions: dict[str, int] = {}
        self._figures: tuple[ModelFigures, ...] = ()

    def __call__(self) -> tuple[ModelFigures, ...]:
        """Return the figures. Raises StoreError."""
        positions = self._workspace.metadata.positions()
        if positions != self._positions:
            names = self._workspace.project.definitions.served
            self._figures = tuple(model_figures(self._workspace, name) for name in names)
            self._positions = positions
        return self._figures


def model_figures(workspace: Workspace, model: str) -> ModelFigures:
    """Return what the loop has come to for one model."""
    metadata = workspace.metadata
    window = latest(metadata, WindowReport, model=model, stage="matured", role="champion")
    revision = latest(metadata, Revision, model=model)
    decision = next((d for d in metadata.find(Decision, model=model, limit=20) if d.trigger == "matrix"), None)
    figures = ModelFigures(
        model=model,
        revision=None if revision is None else revision.number,
        impact_per_day=None if decision is None else decision.impact_per_day,
        decisions={action: metadata.count(Decision, model=model, action=action) for action in ACTIONS},
        open_reviews=len(pending_reviews(metadata, model)),
    )
    if window is None:
        return figures
    signals = metadata.find(Signal, kind=KINDS, model=model, version=window.version, subject="all", start=window.start)
    loss = BY_TASK[workspace.served(model).task].promotion
    return msgspec.structs.replace(
        figures,
        window_end=to_micros(window.end) / MICROS["s"],
        label_coverage=window.coverage,
        losses={loss: window.metrics[loss]} if loss in window.metrics else {},
        money_lost=window.metrics.get("money_lost"),
        p_seq={s.kind: s.p_seq for s in signals if s.p_seq is not None},
    )
