"""Tests that features at a time do not change when the rows that became known later are removed.

A feature that changes knows the future: it looks better in training than it will ever be in service.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from trimtab.app.project.workspace import Workspace
from trimtab.clock import from_micros, to_micros
from trimtab.definitions.models import Model
from trimtab.definitions.sources import Source
from trimtab.definitions.views import FeatureView
from trimtab.errors import CheckFailed
from trimtab.features.corrections import current
from trimtab.features.point_in_time import view_values
from trimtab.features.table_columns import NEVER, micros
from trimtab.features.training_frames import TIMESTAMP, Scan, training_frame
from trimtab.features.value_types import Array
from trimtab.gates.leakage import explained_by_feature
from trimtab.policy.gates import Leakage
from trimtab.training.dataset import Frozen
from trimtab.units import plural

CUTS = 4
"""Times at which later rows are removed."""
MOST_ROWS = 500
"""Rows before a cut that are compared."""
ROUNDING = 2.0**-22
"""Relative difference of values whose float32 differ in their last bits."""


def check_view(workspace: Workspace, view: FeatureView, keys: pl.DataFrame, timestamp: str) -> str:
    """Test the features of a view for some entities and times; return what was compared.

    keys: rows with the entity's key columns. timestamp: their column of times. Raises CheckFailed.
    """
    source = view.source
    table = workspace.tables.scan(source.name)
    at = micros(keys[timestamp], where=f"FeatureView '{view.name}'")
    compared = 0
    for cut in _cuts(at):
        asked = np.flatnonzero(at <= cut)
        asked = asked[np.argsort(at[asked], kind="stable")][-MOST_ROWS:]
        rows, times = keys[asked], at[asked]
        moment = from_micros(int(cut))
        every = view_values(view, current(table, source, as_of=moment), rows, times)
        known = view_values(view, current(_known_by(table, source, moment), source, as_of=moment), rows, times)
        _compare(every, known, times, f"FeatureView '{view.name}'", moment)
        compared += len(asked)
    return f"{plural(len(view.feature_names), 'feature')} of {compared:,} rows, as before later rows came"


def check_model(workspace: Workspace, model: Model, *, start: datetime) -> str:
    """Test all features of a model on its examples from `start` on; return what was compared. Raises CheckFailed."""
    examples = workspace.tables.scan(model.examples.name).select(model.examples.timestamp).collect()
    at = micros(examples[model.examples.timestamp], where=f"Model '{model.name}'")
    compared, names = 0, list(model.feature_names)
    for cut in _cuts(at[at >= to_micros(start)]):
        moment = from_micros(int(cut))
        as_of = moment + timedelta(microseconds=1)
        frames = [
            training_frame(model, scan, as_of=as_of, start=start)
            for scan in (workspace.scan(as_of=moment), _scan_known_by(workspace, model, moment))
        ]
        every, known = (frame.tail(MOST_ROWS) for frame in frames)
        _compare(
            every.select(names),
            known.select(names),
            every[TIMESTAMP].to_physical().to_numpy(),
            f"Model '{model.name}'",
            moment,
        )
        compared += every.height
    return f"{plural(len(names), 'feature')} of {compared:,} rows, as before later rows came"


def check_inputs(model: Model, frozen: Frozen, policy: Leakage | None) -> str:
    """Test that no feature alone explains the label; return the strongest one. Raises CheckFailed.

    The rows that are trained on are looked at; the leakage gate looks at the holdout.
    """
    limits = policy or Leakage()
    taken = frozen.train.take(~np.isnan(frozen.train.y))
    metric, found, judged = explained_by_feature(taken.X, taken.y, list(model.feature_names), model.task)
    if isinstance(judged, str):
        return judged.replace(" in the holdout", "").replace(" of the holdout", "")
    name = max(found, key=lambda each: found[each])
    suspects = {
        each: value
        for each, value in found.items()
        if value > limits.single_feature and each not in limits.acknowledged
    }
    if suspects:
        named = ", ".join(f"'{each}' ({metric} {value:.4f})" for each, value in sorted(suspects.items()))
        raise CheckFailed(
            f"alone explain the label of {judged:,} rows: {named}, limit {limits.single_feature:g}. Such a feature "
            "often is the outcome, is computed from it, or is known only after the request: remove it, or take its "
            "value as of the request. If it is right: gates.leakage.acknowledged in trimtab.yaml"
        )
    return f"the strongest single feature of {judged:,} rows is '{name}': {metric} {found[name]:.4f}"


def _cuts(at: Array) -> Array:
    """Return times at which later rows are removed: some of those that are asked for, the last one among them."""
    times = np.unique(at[at != NEVER])
    return np.unique(times[np.linspace(0, len(times) - 1, CUTS + 1).astype(np.int64)[1:]]) if len(times) else times


def _known_by(table: pl.LazyFrame, source: Source, moment: datetime) -> pl.LazyFrame:
    utc = pl.Datetime("us", "UTC")
    known = pl.max_horizontal(pl.col(source.known_column).cast(utc), pl.col(source.timestamp).cast(utc))
    return table.filter(pl.col(source.known_column).is_not_null() & (known <= moment))


def _scan_known_by(workspace: Workspace, model: Model, moment: datetime) -> Scan:
    """Return a reader of tables as they were known at a time; examples count from their event time."""
    sources = workspace.project.definitions.sources

    def read(name: str) -> pl.LazyFrame:
        table, source = workspace.tables.scan(name), sources[name]
        if name == model.examples.name:
            own = table.filter(pl.col(source.timestamp).cast(pl.Datetime("us", "UTC")) <= moment)
            return current(own, source, as_of=moment)
        return current(_known_by(table, source, moment), source, as_of=moment)

    return read


def _compare(every: pl.DataFrame, known: pl.DataFrame, at: Array, where: str, moment: datetime) -> None:
    """Raise CheckFailed for the first feature that differs, with its last row that does."""
    if every.height != known.height:
        raise CheckFailed(
            f"{where}: {plural(every.height, 'row')} with the rows that became known after "
            f"{moment:%Y-%m-%d %H:%M} UTC, {known.height:,} without them"
        )
    for name in every.columns:
        apart = np.flatnonzero(_apart(every[name], known[name]).to_numpy())
        if len(apart):
            row = int(apart[-1])
            of, later = f"{from_micros(int(at[row])):%Y-%m-%d %H:%M} UTC", f"{moment:%Y-%m-%d %H:%M} UTC"
            raise CheckFailed(
                f"{where}: feature '{name}' of {of} is {every[name][row]} with the rows that became known after "
                f"{later}, and {known[name][row]} without them ({plural(len(apart), 'row')} of {every.height:,}): it "
                "must not depend on what comes later"
            )


def _apart(every: pl.Series, known: pl.Series) -> pl.Series:
    """Return which values differ, bool; two missing values are equal, and so are numbers but for rounding."""
    if isinstance(every.dtype, pl.Categorical | pl.Enum):
        every, known = every.cast(pl.String), known.cast(pl.String)
    apart = every.ne_missing(known)
    if every.dtype.is_float() and known.dtype.is_float():
        size = pl.DataFrame([every.abs().alias("a"), known.abs().alias("b")]).select(pl.max_horizontal("a", "b"))
        apart &= ~((every - known).abs() <= size.to_series() * ROUNDING).fill_null(value=False)
    return apart
