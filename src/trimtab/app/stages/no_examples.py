"""The message for a training set that would have no rows."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from trimtab import units
from trimtab.app.project.workspace import Workspace
from trimtab.definitions.models import Model


def no_examples(workspace: Workspace, model: Model, *, as_of: datetime, start: datetime | None) -> str:
    """Say which stretch of time has no examples, and which rows the table has."""
    source, history = model.examples, workspace.project.policy.training.history
    micros = pl.Datetime("us", "UTC")
    found = (
        workspace.tables.scan(source.name)
        .select(
            at=pl.col(source.timestamp).cast(micros), known=pl.col(source.known_at or source.timestamp).cast(micros)
        )
        .drop_nulls()
        .select(pl.col("at").min().alias("first"), pl.col("at").max().alias("last"), pl.col("known").min())
        .collect()
        .row(0)
    )
    if found[0] is None:
        return f"model '{model.name}' has no examples: table '{source.name}' is empty; add files, then: trimtab ingest"
    first, last, known = found
    has = f"table '{source.name}' has rows from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
    if start is not None and history is not None and known <= as_of:
        days = history / units.MICROS["d"]
        return (
            f"model '{model.name}' has no examples in the {days:g} days before {as_of:%Y-%m-%d %H:%M} (policy: "
            f"training.history): {has}. Take a longer training.history, ingest newer rows, or name an earlier --as-of"
        )
    return (
        f"model '{model.name}' has no examples that were known by {as_of:%Y-%m-%d %H:%M}: {has}, and the first of them "
        f"was known at {known:%Y-%m-%d %H:%M}. Name a later --as-of"
    )
