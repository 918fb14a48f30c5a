"""Lengths of a view's windows, and times rounded to the view's `every`."""

from __future__ import annotations

from trimtab.definitions.aggregations import Aggregation
from trimtab.definitions.views import FeatureView
from trimtab.features.value_types import Array

Window = int | None
"""Microseconds after which a row no longer counts, None for no end."""


def window_of(view: FeatureView, aggregation: Aggregation) -> Window:
    """Return the shorter of the aggregation's window and the view's ttl."""
    lengths = [length for length in (aggregation.window, view.ttl_micros) if length is not None]
    return min(lengths, default=None)


def finite_windows(view: FeatureView) -> list[int]:
    """Return the lengths of the view's windows without the endless ones, each once, the shortest first."""
    return sorted({w for a in view.leaves if (w := window_of(view, a)) is not None})


def longest_window(view: FeatureView) -> Window:
    """Return the longest time for which a row counts."""
    windows = [window_of(view, a) for a in view.leaves]
    return None if None in windows else max(window for window in windows if window is not None)


def floor_to(moments: Array, every: int | None) -> Array:
    """Return times rounded down to a multiple of `every` since the epoch; both microseconds, None: unchanged."""
    return moments if every is None else moments - moments % every


def ceil_to(moments: Array, every: int | None) -> Array:
    """Return times rounded up to a multiple of `every` since the epoch; both microseconds, None: unchanged."""
    return moments if every is None else moments + -moments % every
