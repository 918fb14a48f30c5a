"""The kinds of values in trimtab.yaml as people write them, such as 7d, 1% or 500/day.

Durations become microseconds (int), shares floats between 0 and 1, sizes bytes, rates money a day.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, ValidationInfo, WithJsonSchema
from pydantic_core import CoreSchema

from trimtab import units
from trimtab.errors import nearest
from trimtab.metric_catalog import FAIRNESS, METRICS, MONEY

FROM_FILE = {"from_file": True}
"""Context of a validation whose values a person wrote: a bare number where a unit is due is then refused."""
NUMBER = r"[0-9]+(\.[0-9]+)?"
HOURS = re.compile(r"\s*(\d\d):([0-5]\d)\s*-\s*(\d\d):([0-5]\d)\s*")
PERCENT = re.compile(rf"\s*({NUMBER})\s*%\s*")


@dataclass(frozen=True, eq=False)  # annotations are hashed, and a schema is not hashable
class Written:
    """How a kind of value is written: in words, as JSON Schema, and back into text."""

    words: str
    schema: dict[str, Any]
    text: Callable[[Any], str] = str

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.schema)


def _with_unit(function: Callable[[str], object], example: str) -> BeforeValidator:
    """Text is converted. A number is converted already, unless a person wrote it: then its unit is missing."""

    def convert(value: object, info: ValidationInfo) -> object:
        if isinstance(value, str):
            return function(value)
        if info.context == FROM_FILE and isinstance(value, int | float):
            raise ValueError(f"{value} has no unit; expected such as {example}")
        return value

    return BeforeValidator(convert)


def _with_or_without_unit(function: Callable[[str], object]) -> BeforeValidator:
    return BeforeValidator(lambda value: function(value) if isinstance(value, str) else value)


def _one_of(what: str, names: tuple[str, ...]) -> BeforeValidator:
    def check(name: object) -> object:
        if name not in names:
            raise ValueError(f"unknown {what} '{name}'.{nearest(str(name), names)}")
        return name

    return BeforeValidator(check)


def _column_set(value: object) -> object:
    columns = [value] if isinstance(value, str) else value
    if not isinstance(columns, list) or not columns or not all(isinstance(each, str) and each for each in columns):
        raise ValueError(f"expected a column, or a list of columns that are crossed, found {value!r}")
    if len(set(columns)) < len(columns):
        raise ValueError(f"{columns}: a column is there twice")
    return value


def _a_month(text: str) -> float:
    return units.per_day(text, otherwise="month") * units.PERIOD_DAYS["month"]


def _share(value: object) -> object:
    return units.share(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else value


def _percent(value: object) -> object:
    """Take 90% for 90; other texts are judged as numbers."""
    match = PERCENT.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) if match else value


def _hours(value: object) -> object:
    """Take 22:00-06:00 for (1320, 360)."""
    if not isinstance(value, str):
        return value
    match = HOURS.fullmatch(value)
    times = [int(match[n]) * 60 + int(match[n + 1]) for n in (1, 3)] if match else []
    if not times or max(times) > 24 * 60 or times[0] == times[1]:
        raise ValueError(f"'{value}' names no hours of a day; expected such as 22:00-06:00")
    return tuple(times)


def _timezone(value: object) -> object:
    if not isinstance(value, str) or value not in (names := zoneinfo.available_timezones()):
        raise ValueError(f"'{value}' is no time zone.{nearest(str(value), names)}")
    return value


def _pattern(pattern: str, example: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^ *{pattern} *$", "examples": [example]}


def _or_number(text: dict[str, Any], **limits: float) -> dict[str, Any]:
    return {"anyOf": [{"type": "number", **limits}, text]}


def _size(value: int) -> str:
    unit = max((unit for unit, size in units.SIZES.items() if value % size == 0), key=lambda unit: units.SIZES[unit])
    return f"{value // units.SIZES[unit]}{unit}"


_UNITS = "|".join(sorted(units.MICROS, key=len, reverse=True))
_SIZES = "|".join(units.SIZES)
_RATE = rf"{NUMBER} *(/ *({'|'.join(units.PERIOD_DAYS)}))?"

Duration = Annotated[
    int,
    _with_unit(units.micros, "10ms, 3h or 7d"),
    Field(gt=0),
    Written("duration", _pattern(rf"{NUMBER} *({_UNITS})", "7d"), units.short),
]
Hours = Annotated[
    tuple[int, int],
    BeforeValidator(_hours),
    Written(
        "hours of a day",
        _pattern(r"[0-2][0-9]:[0-5][0-9] *- *[0-2][0-9]:[0-5][0-9]", "22:00-06:00"),
        lambda value: "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in value),
    ),
]
"""Begin and end in minutes since midnight; an end that is not later than the begin is on the next day."""
Timezone = Annotated[str, BeforeValidator(_timezone), Written("name of a time zone", {"type": "string"})]
Bytes = Annotated[
    int,
    _with_unit(units.bytes_, "500MB"),
    Field(gt=0),
    Written("size", _pattern(rf"{NUMBER} *({_SIZES})", "500MB"), _size),
]
Share = Annotated[
    float,
    BeforeValidator(_share),
    Field(ge=0, le=1),
    Written(
        "share",
        _or_number(_pattern(rf"{NUMBER} *%?", "1%"), minimum=0, maximum=1),
        lambda value: f"{value * 100:g}%",
    ),
]
Percent = Annotated[
    float,
    BeforeValidator(_percent),
    WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": rf"^ *{NUMBER} *%? *$", "examples": ["90%"]}]}
    ),
]
"""90 or 90%: both are 90."""
Cost = Annotated[float, Field(ge=0)]
"""Money, 0 or more."""
ClassName = Annotated[str, BeforeValidator(lambda given: str(given) if type(given) is int else given)]
"""Name of a class; YAML reads one of digits as a number."""
CostMatrix = dict[ClassName, dict[ClassName, Cost]]
"""Money by true class, and by predicted class in it."""
Confidence = Annotated[
    float,
    BeforeValidator(_share),
    Field(gt=0.5, lt=1),
    Written(
        "share between 50% and 100%",
        _or_number(_pattern(rf"{NUMBER} *%?", "95%"), exclusiveMinimum=0.5, exclusiveMaximum=1),
    ),
]
Noise = Annotated[
    float,
    _with_or_without_unit(units.standard_deviations),
    Field(ge=0),
    Written(
        "standard deviations",
        _or_number(_pattern(rf"{NUMBER} *(sd)?", "0.1sd"), minimum=0),
        lambda value: f"{value:g}sd",
    ),
]
PerDay = Annotated[
    float,
    _with_or_without_unit(units.per_day),
    Field(ge=0),
    Written(
        "rate; a day without a period",
        _or_number(_pattern(_RATE, "500/day"), minimum=0),
        lambda value: f"{value:g}/day",
    ),
]
PerMonth = Annotated[
    float,
    _with_or_without_unit(_a_month),
    Field(ge=0),
    Written(
        "rate; a month without a period",
        _or_number(_pattern(_RATE, "8/month"), minimum=0),
        lambda value: f"{value:g}/month",
    ),
]
Metric = Annotated[str, _one_of("metric", tuple(METRICS)), Written("metric", {"enum": list(METRICS)})]
MetricOrMoney = Annotated[
    str,
    _one_of("metric", (*METRICS, MONEY)),
    Written(f"metric, or {MONEY}", {"enum": [*METRICS, MONEY]}),
]
ColumnSet = Annotated[
    str | list[str],
    BeforeValidator(_column_set),
    Written(
        "column, or list of columns",
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    ),
]
FairnessMetric = Annotated[
    str,
    _one_of("fairness metric", tuple(FAIRNESS)),
    Written("fairness metric", {"enum": list(FAIRNESS)}),
]
