"""Writes a view's values into the online store, up to a time, from the table of its source."""

from __future__ import annotations

from trimtab.definitions.views import FeatureView
from trimtab.features.stream_state import LATENESS, StreamUpdater
from trimtab.features.view_rows import Rows
from trimtab.stores.online.contract import Online


def materialize(
    view: FeatureView, rows: Rows, online: Online, *, until: int, full: bool = False, lateness: int = LATENESS
) -> int:
    """Write the view's timelines up to `until`; several runs write the same timelines as one.

    A run continues where the last one ended: it reads the rows that are new in the table, and of the others those that
    have become known since.

    Args:
        view: the view.
        rows: the table of its source; a LazyFrame must give the same rows in the same order each time it is collected,
            and in a later run the same rows first.
        online: the store.
        until: microseconds since the epoch; becomes the watermark. Before the watermark, nothing is changed.
        full: all timelines are written anew, because rows of the table were replaced.
        lateness: microseconds by which rows may come late without all rows of their entity being read.

    Returns:
        The number of entries that changed the store.

    Raises:
        DefinitionError: a column is missing or has a wrong type.
        UsageError: `full` is given, and `until` lies before the watermark.
    """
    return StreamUpdater(view, online, rows.lazy, lateness=lateness).update(until=until, full=full)
