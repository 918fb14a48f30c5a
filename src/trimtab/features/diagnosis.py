"""Warns of a training frame that is valid but probably wrong: features without values, outcomes known at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl

from trimtab import units
from trimtab.definitions.aggregations import ZERO_IF_EMPTY, Aggregation
from trimtab.definitions.models import Model
from trimtab.definitions.views import FeatureView
from trimtab.errors import DataError
from trimtab.features.filtering import condition
from trimtab.features.view_windows import window_of
from trimtab.units import MICROS

ALMOST_ALL = 0.99
"""Share of nulls above which a feature is reported, and share of rows known too late for a window above which the
window is named as the cause."""
EXACT_FLOAT32 = 2**24
"""Whole numbers up to this one are exact in float32."""
OWN_ROWS = 0.01
"""Largest allowed share of labelled examples that count in their own features."""

Scan = Callable[[str], pl.LazyFrame]


def diagnose(model: Model, scan: Scan, frame: pl.DataFrame) -> tuple[str, ...]:
    """Return warnings about a training frame.

    Args:
        model: the model.
        scan: returns the rows of a source by its name.
        frame: from `training_frame`.

    Returns:
        One sentence for each warning.

    Raises:
        DataError: examples count in their own features: a view reads the rows that the model learns from, and they
            are known at the time of the request.
    """
    labelled = frame.filter(pl.col("label").is_not_null())
    rows = labelled if labelled.height else frame
    old = [f"view '{view.name}' is deprecated: {view.deprecated}" for view in model.views if view.deprecated]
    if rows.is_empty():
        return tuple(old)
    if model.label is None:
        return (*old, *_without_values(model, scan, rows), *_rounded(model, scan, rows))
    for view in model.views:
        _refuse_own_rows(model, model.label, view, scan)
    found = (*old, *_known_at_once(model, model.label, scan), *_without_values(model, scan, rows))
    return (*found, *_rounded(model, scan, rows))


def _rounded(model: Model, scan: Scan, rows: pl.DataFrame) -> Iterator[str]:
    """Warn of whole numbers and times that float32 rounds, such as ids: different ones become the same number."""
    schema = scan(model.examples.name).collect_schema()
    for name in model.features:
        kept = pl.Float32 if model.input == "frame" else pl.Int64
        if isinstance(name, str) and schema[name].is_integer() and rows.schema[name] in (pl.Float32, kept):
            largest = rows.select(pl.col(name).abs().max()).item()
            if largest is not None and largest > EXACT_FLOAT32:
                yield (
                    f"feature '{name}' holds whole numbers beyond 2^24, such as {largest:.0f}, which float32 rounds, "
                    f"so different ones become equal: for names, Model(..., types={{'{name}': 'category'}}); to "
                    "keep them exact, Model(..., input='frame')"
                )
    for name in model.feature_names if model.input == "matrix" else ():
        if isinstance(rows.schema[name], pl.Datetime):
            seconds = rows[name].drop_nulls().to_physical().to_numpy() / MICROS["s"]
            held = seconds.astype(np.float32)
            if (held != seconds).any():
                yield (
                    f"feature '{name}' holds timestamps, which a matrix has as float32 seconds since 1970: they are "
                    f"rounded to {np.spacing(held.max()):g} s, so nearer ones become equal. For the time of day or the "
                    "time since another one: tt.on_demand; to keep them exact: Model(..., input='frame')"
                )


def _refuse_own_rows(model: Model, label: str, view: FeatureView, scan: Scan) -> None:
    source, asked = view.source, model.examples.timestamp
    table = scan(source.name)
    if not source.reads_same_rows(model.examples) or not {asked, label} <= set(table.collect_schema()):
        return
    effective = pl.max_horizontal(source.timestamp, source.known_column)
    known = table.filter(pl.col(source.known_column).is_not_null() & pl.col(label).is_not_null())
    own, total = known.select((effective <= pl.col(asked)).sum().alias("own"), pl.len()).collect().row(0)
    if total and own / total > OWN_ROWS:
        raise DataError(
            f"model '{model.name}': view '{view.name}' reads the rows that the model learns from, and {own:,} of "
            f"{total:,} labelled ones are known ('{source.known_column}') at the time of the request ('{asked}') or "
            "before, so each would count in its own features, with its outcome. Let known_at name the column of the "
            "time at which the outcome became known"
        )


def _known_at_once(model: Model, label: str, scan: Scan) -> Iterator[str]:
    source = model.examples
    if source.known_at is None or source.known_at == source.timestamp:
        return
    known, asked = pl.col(source.known_at), pl.col(source.timestamp)
    table = scan(source.name).filter(pl.col(label).is_not_null() & known.is_not_null() & asked.is_not_null())
    equal, total = table.select((known <= asked).sum().alias("equal"), pl.len()).collect().row(0)
    if equal:
        yield (
            f"source '{source.name}': {equal:,} of {total:,} labelled rows ({equal / total:.1%}) are known "
            f"('{source.known_at}') at their timestamp ('{source.timestamp}'): the outcome counts as known at the "
            "request. Let known_at name the column of the time at which it became known"
        )


def _without_values(model: Model, scan: Scan, rows: pl.DataFrame) -> Iterator[str]:
    for view in model.views:
        for aggregation, name in zip(view.aggregations, view.feature_names, strict=True):
            if name not in model.feature_names:
                continue
            if aggregation.kind in ZERO_IF_EMPTY:
                if rows[name].max() == 0:
                    text = f"feature '{name}' is 0 in all of {rows.height:,} training rows"
                    yield text + _why(model, view, aggregation, scan)
            elif (share := rows[name].null_count() / rows.height) > ALMOST_ALL:
                yield _null(name, share, rows.height) + _why(model, view, aggregation, scan)
    of_views = {name for view in model.views for name in view.feature_names}
    for name in model.feature_names:
        if name not in of_views and (share := rows[name].null_count() / rows.height) > ALMOST_ALL:
            yield _null(name, share, rows.height)


def _null(name: str, share: float, rows: int) -> str:
    return f"feature '{name}' is null in {share:.1%} of {rows:,} training rows"


def _why(model: Model, view: FeatureView, aggregation: Aggregation, scan: Scan) -> str:
    """Return the likely cause and its remedy, or an empty text."""
    source, window = view.source, window_of(view, aggregation)
    table = scan(source.name)
    if aggregation.where is not None and view.over is None:
        fulfilled = condition(aggregation.where, table.collect_schema(), view=view.name)
        if not table.select(fulfilled.any()).collect().item():
            return f": no row of source '{source.name}' fulfils where={aggregation.where!r}"
    if source.known_at is not None and window is not None and view.window_by == "timestamp":
        delay = (pl.col(source.known_at) - pl.col(source.timestamp)).dt.total_microseconds()
        late = table.select((delay >= window).mean(), delay.median().alias("usual")).collect().row(0)
        if late[0] is not None and late[0] > ALMOST_ALL:
            return (
                f": rows of source '{source.name}' become known {_roughly(int(late[1]))} after their timestamp "
                f"(median), when they have left a window of {units.short(window)} already. For a window over what "
                f"became known write FeatureView('{view.name}', ..., window_by='known_at')"
            )
    keys = [pl.col(key).cast(pl.String) for key in view.entity.keys]
    asked = scan(model.examples.name).select(keys).unique()
    matched = asked.join(table.select(keys).unique(), on=list(view.entity.keys), how="semi")
    if matched.select(pl.len()).collect().item() == 0:
        named = ", ".join(view.entity.keys)
        return f": no key of the examples ({named}) is among the keys of source '{source.name}'"
    return ""


def _roughly(length: int) -> str:
    """Return a length of time (microseconds) in whole minutes; one below a minute is not rounded."""
    minute = MICROS["m"]
    return units.short(length - length % minute if length >= minute else length)
