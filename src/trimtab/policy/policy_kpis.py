"""The section `kpis` of trimtab.yaml: business figures that are watched beside the models."""

from __future__ import annotations

from typing import Literal

from trimtab.policy.section import Section


class PolicyKpi(Section):
    """One business KPI, as `tt.Kpi` declares one in definitions.py: rows of a table, a query, or, without both, points
    that are pushed."""

    table: str | None = None
    """Name of a source: the rows of its table are the points."""
    query: str | None = None
    """A SELECT whose rows are the points, with the columns time, value and, where `entity` names it, one of entities.
    It is asked for each window once, when the model's own window of that time has closed, and is only read."""
    database: str | None = None
    """Name of the tt.SQLSource whose database the query asks; left out, the metadata store of the project."""
    value: str | None = None
    """Column of the value; needed with `table`, of a query by default `value`."""
    timestamp: str | None = None
    """Column of the event time; left out, that of the source; of a query `time`."""
    entity: str | None = None
    """Column of what a row is about, such as a shop; different ones are counted. Left out, none are."""
    model: str | None = None
    """The model that it belongs to; left out, all models of the project."""
    higher_is: Literal["better", "worse"] = "better"
    """Whether a fall or a rise is the alarm."""
    aggregation: Literal["sum", "mean"] = "sum"
    """Of the values of a window."""
    unit: str = ""
    """Name of the unit, for texts."""
    impact: bool = False
    """With true, what a window is worse than usual counts as money lost: a decision takes the larger of this and of
    what mistakes cost. The unit is that of `impact.currency`."""
