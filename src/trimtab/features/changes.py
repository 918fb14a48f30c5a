"""The moments at which an entity's features can change. Used by materialization."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from trimtab.definitions import FeatureView
from trimtab.features.kinds import Array
from trimtab.features.windows import ceil_to, finite_windows


@dataclass(frozen=True)
class Changes:
    """Moments in order of (entity, moment), each once; shape (n,).

    settled: a row known by `since` changes a value here, so an earlier run may have written this moment.
    """

    entities: Array
    moments: Array
    settled: Array


def changes(view: FeatureView, entities: Array, times: Array, known: Array, *, since: int | None) -> Changes:
    """Return every moment after `since` (None: ever) at which one of the rows comes in or leaves a window.

    entities: int64; times, known: microseconds; by row. Moments are rounded up to a multiple of `every`.
    """
    effective = np.maximum(times, known)
    moments, owners, sources = [effective], [entities], [effective]
    for window in finite_windows(view):
        counted = effective < times + window
        moments.append(times[counted] + window)
        owners.append(entities[counted])
        sources.append(effective[counted])
    points = pl.DataFrame(
        {
            "entity": np.concatenate(owners),
            "moment": ceil_to(np.concatenate(moments), view.every_micros),
            "settled": np.concatenate(sources) <= (since if since is not None else np.iinfo(np.int64).min),
        }
    )
    if since is not None:
        points = points.filter(pl.col("moment") > since)
    points = points.group_by("entity", "moment").agg(pl.col("settled").any()).sort("entity", "moment")
    return Changes(*(points[name].to_numpy() for name in ("entity", "moment", "settled")))
