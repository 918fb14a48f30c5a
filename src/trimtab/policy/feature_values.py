"""Section of trimtab.yaml on feature values for serving: when they are computed, how fresh they are, what is kept."""

from __future__ import annotations

from pydantic import Field

from trimtab import units
from trimtab.policy.section import Section
from trimtab.policy.values import Duration


class Materialize(Section):
    """A schedule of `trimtab up`."""

    every: Duration
    """Time from one computation to the next. A stream brings values up to date between two of them, too."""


class Features(Section):
    """Feature values in the online store."""

    materialize: Materialize | None = None
    """Schedule on which all views are brought up to date; left out, those of bundles in service are, every ten seconds
    at most."""
    lateness: Duration = units.MICROS["h"]
    """Rows that come later than this are taken, too; all rows of their entity are then read from the table."""
    freshness: dict[str, Duration] = Field(default={})
    """By view: how old its values may be. A window in which they were older proposes a review."""
    keep: Duration | None = None
    """How far back from the newest values old ones can be read; left out, all of the past, which a replay needs."""
