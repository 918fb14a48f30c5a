"""Business KPIs: streams of values over time, read from a table or by a query, or pushed to the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from trimtab.definitions.arguments import check_kind, check_name, check_text
from trimtab.definitions.models import Model
from trimtab.definitions.sources import Source
from trimtab.definitions.sql_source import SQLSource
from trimtab.errors import DefinitionError, nearest
from trimtab.places import Placed

Better = Literal["better", "worse"]
Aggregation = Literal["sum", "mean"]
RESERVED = "all"
"""Subject of the signals of money lost, which no stream may have as its name."""


@dataclass(frozen=True)
class Kpi(Placed):
    """A business KPI: one value a window of event time, tested like every other signal, beside the version that served.

    Args:
        name: letters, digits and single underscores.
        source: table whose rows are the points; None: points are pushed, by `trimtab kpi add` or POST /v1/kpis/NAME,
            unless there is a query.
        query: a SELECT whose rows are the points, asked for one window after the other; it is only read.
        database: source whose database the query asks; None: the metadata store of the project.
        value: column of the value of a row; with a source or a query only. Of a query by default `value`.
        timestamp: column of the event time of a row; None takes the timestamp of the source; of a query `time`.
        entity: column of the thing that a row is about, such as a shop; counted, not tested apart.
        model: the model that the KPI belongs to; None: all models of the project.
        higher_is: "better" or "worse": whether a fall or a rise is the alarm.
        aggregation: "sum" or "mean" of the values of a window.
        unit: name of the unit, for texts.
        impact: what a window is worse than usual counts as money lost, which may raise the impact of a decision. The
            unit is then that of `impact.currency`, and the aggregation a sum.

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> sales = tt.FileSource("sales", "data/sales", timestamp="sold_at")
    >>> tt.Kpi("revenue", source=sales, value="amount", unit="USD").aggregation
    'sum'
    >>> tt.Kpi("complaints", higher_is="worse").is_pushed
    True
    """

    name: str
    source: Source | None = None
    value: str | None = None
    timestamp: str | None = None
    entity: str | None = None
    model: Model | None = None
    higher_is: Better = "better"
    aggregation: Aggregation = "sum"
    unit: str = ""
    query: str | None = None
    database: SQLSource | None = None
    impact: bool = False

    def __post_init__(self) -> None:
        check_name("Kpi", self.name)
        where = f"Kpi '{self.name}'"
        if self.name == RESERVED:
            raise DefinitionError(f"{where}: the name '{RESERVED}' stands for money lost; choose another one")
        self._check_columns(where)
        if self.model is not None:
            check_kind(f"{where}: model", self.model, Model)
        if self.impact and self.aggregation != "sum":
            raise DefinitionError(f"{where}: impact counts money lost in a window, which takes the aggregation 'sum'")
        if not isinstance(self.unit, str):
            raise DefinitionError(f"{where}: unit is {self.unit!r}; expected text, such as 'USD'")
        for argument, given, kinds in (
            ("higher_is", self.higher_is, get_args(Better)),
            ("aggregation", self.aggregation, get_args(Aggregation)),
        ):
            if given not in kinds:
                raise DefinitionError(f"{where}: {argument} is {given!r}.{nearest(str(given), kinds)}")

    def _check_columns(self, where: str) -> None:
        columns = {"value": self.value, "timestamp": self.timestamp, "entity": self.entity}
        given = {name: column for name, column in columns.items() if column is not None}
        for name, column in given.items():
            check_text(f"{where}: {name}", column, "amount")
        if self.query is not None:
            check_text(f"{where}: query", self.query, "SELECT paid_at AS time, amount AS value FROM payments")
            if self.source is not None:
                raise DefinitionError(f"{where} has a source and a query; expected one of them")
            if self.database is not None:
                check_kind(f"{where}: database", self.database, SQLSource)
            return
        if self.database is not None:
            raise DefinitionError(f"{where} has a database but no query; expected query='SELECT ...'")
        if self.source is None:
            if given:
                name = next(iter(given))
                raise DefinitionError(f"{where}: {name} names a column, but there is no source; expected source=...")
            return
        check_kind(f"{where}: source", self.source, Source, "FileSource")
        if self.value is None:
            raise DefinitionError(f"{where} has a source but no value; expected the column of the value, value='...'")

    @property
    def is_pushed(self) -> bool:
        """Return True if its points are pushed, rather than read from a table or by a query."""
        return self.source is None and self.query is None

    @property
    def origin(self) -> str:
        """Where its points come from, in words."""
        if self.query is not None:
            return f"query of {'the metadata' if self.database is None else self.database.name}"
        return "pushed" if self.source is None else f"table {self.source.name}"

    @property
    def time_column(self) -> str:
        """Column of the event time; empty when points are pushed."""
        return "" if self.source is None else self.timestamp or self.source.timestamp
