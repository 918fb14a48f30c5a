"""Sections of trimtab.yaml on data: what a batch is judged by beyond its rows, and how tables change and are kept."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from trimtab import units
from trimtab.policy.section import Section
from trimtab.policy.values import Duration, Share

OnFailure = Literal["warn", "fail"]
Answer = Literal["allow", "warn", "refuse"]


class Volume(Section):
    """How many rows a batch must have. Without `min` and `max` it is compared with the last good batches.

    It then fails if its size, and the change of its size against the batch before, are both as unusual as `level` says
    among those of the last 60 good batches. So neither a steady growth nor a day of the week fails.
    """

    min: int | None = Field(default=None, ge=0)
    """Fewest rows of a batch."""
    max: int | None = Field(default=None, ge=1)
    """Most rows of a batch."""
    level: Share = Field(default=0.01, gt=0, lt=1)
    """Probability at which a batch like the others fails, without `min` and `max`."""
    on_failure: OnFailure = "warn"
    """fail: the batch is refused; warn: it is ingested, and the report says so."""

    @model_validator(mode="after")
    def _possible(self) -> Volume:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}: no batch could pass")
        return self


class Freshness(Section):
    """How old the newest row of a table may be when the table is validated; `2d` is short for `{ max_age: 2d }`."""

    max_age: Duration = units.MICROS["d"]
    """Most time between the newest timestamp of the table and now. Rows in the future do not count."""
    on_failure: OnFailure = "fail"
    """fail: nothing is trained; warn: the report says so."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        return {"max_age": data} if isinstance(data, str) else data


class Duplicates(Section):
    """Rows that repeat others of the batch, or of the table when it is validated.

    `key`, `row` or a list of columns is short for `{ by: ... }`.
    """

    by: Literal["key", "row"] | list[str] = "row"
    """key: rows with the same key of the source that became known at the same time; row: rows that are equal in all
    columns; or columns."""
    max_share: Share = 0.0
    """Largest accepted share of rows that repeat an earlier one."""
    on_failure: OnFailure = "fail"
    """fail: the batch is refused; warn: it is ingested, and the report says so."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        return {"by": data} if isinstance(data, str | list) else data


class Reference(Section):
    """Values that must be in a column of another table; `carriers.carrier` is short for `{ to: carriers.carrier }`."""

    to: str = Field(pattern=r"^\w+\..+$")
    """`SOURCE.COLUMN`. Missing values refer to nothing and pass."""
    max_share: Share = 0.0
    """Largest accepted share of rows whose value is not there."""
    on_failure: OnFailure = "fail"
    """fail: the batch is refused; warn: it is ingested, and the report says so."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        return {"to": data} if isinstance(data, str) else data

    @property
    def source(self) -> str:
        """Name of the source."""
        return self.to.partition(".")[0]

    @property
    def column(self) -> str:
        """Name of its column."""
        return self.to.partition(".")[2]


class Distribution(Section):
    """Whether the values of a batch are those of the last good batches, column by column.

    A batch fails if it differs from the good batches more than they differ from one another. So rows of a batch may be
    alike, and batches may differ from day to day. With fewer than 20 good batches it is not judged.
    """

    columns: list[str] | None = None
    """The columns to compare; left out, all but times."""
    batches: int = Field(default=60, ge=20, le=365)
    """So many of the last good batches are compared with."""
    level: Share = Field(default=0.01, gt=0, lt=1)
    """Probability at which a batch like the others fails, over all columns together."""
    on_failure: OnFailure = "warn"
    """fail: the batch is refused; warn: it is ingested, and the report says so."""


class Evolution(Section):
    """What happens to a batch whose columns differ from the table's. warn: it is ingested, and the report says so."""

    add_columns: Answer = "refuse"
    """A column that the table does not have; earlier rows have null in it."""
    widen: Answer = "allow"
    """A type that holds all values of the old type, such as integers of more bits."""
    drop: Answer = "refuse"
    """A column that is missing; the rows have null in it."""


Range = list[float | None]


class FeatureChecks(Section):
    """What the features of a training set must be like when they have been computed."""

    max_missing: Share = 1.0
    """Largest accepted share of rows without a value, of each feature."""
    ranges: dict[str, Range] = {}
    """By feature its least and greatest value, such as [0, 1]; null for no limit."""
    constant: Literal["allow", "warn", "fail"] = "warn"
    """What a feature with one value in all rows means."""
    leakage: Literal["allow", "warn", "fail"] = "allow"
    """What a feature means that alone explains the label; limit and exceptions are those of `gates.leakage`, which
    judges it in any case, after the training."""
    on_failure: OnFailure = "fail"
    """What a missing value too many, or a value out of range, means. fail: nothing is trained."""

    @model_validator(mode="after")
    def _possible(self) -> FeatureChecks:
        for name, limits in self.ranges.items():
            if len(limits) != 2 or (None not in limits and limits[0] > limits[1]):  # type: ignore[operator]  # not None
                raise ValueError(f"ranges.{name} is {limits}; expected [least, greatest], such as [0, 1]")
        return self


class KeptTables(Section):
    """How long versions of tables can be read."""

    keep: Duration | None = None
    """Versions that were the newest within this time stay readable, one day or more; left out, all do. Those that a
    data set, a model or a hold names do in any case."""
    hold: list[str] = []
    """Tables such as `flights`, and versions such as `flights@3`, of which no version is removed."""

    @model_validator(mode="after")
    def _a_day(self) -> KeptTables:
        if self.keep is not None and self.keep < units.MICROS["d"]:
            raise ValueError("keep is less than 1d: a reader that has just opened a version would lose it")
        return self
