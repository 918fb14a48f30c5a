"""Error messages for request columns that are missing or misspelt, and for values that a model does not take.

Only faulty requests cost time. The exception is a request without a timestamp: the names of its other columns are
compared with the timestamp's.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from trimtab.bundle.limits import FLOAT32_MAX, InputCheck, Problem, unusual
from trimtab.bundle.spec import Spec
from trimtab.bundle.typed_matrix import TypedMatrix
from trimtab.errors import nearest
from trimtab.serving.core.in_flight import RowGroup
from trimtab.serving.requests import Absent, Refused, shown

LARGEST = sys.float_info.max
MOST_LOOKED_AT = 100
"""Columns of a request, and characters of a name, that are compared."""
MOST_SHOWN = 12
INFINITE = {math.inf: "inf", -math.inf: "-inf", LARGEST: "inf", -LARGEST: "-inf"}
"""How infinity is written in an error; JSON's Infinity is read as the largest number there is."""
SIMILAR = 0.85
"""From which likeness a name is taken for the timestamp's: scheduledat for scheduled_at, but not created_at."""


def missing(name: str, expected: Collection[str], sent: Iterable[str]) -> str:
    """Build the error message for a missing request column. expected: all request columns of the bundle."""
    names = list(_short(sent))
    strange = {each.casefold(): each for each in names if each not in expected}
    close = get_close_matches(name.casefold(), strange, n=1, cutoff=0.6)
    if close:
        return f"request column '{name}' is missing; '{strange[close[0]]}' was sent: did you mean '{name}'?"
    return f"request column '{name}' is missing; expected columns: {listed(expected)}; sent: {listed(names) or 'none'}"


def check_absent(absent: Mapping[str, Absent], specs: Iterable[Spec]) -> None:
    """Raise Refused when a column that some rows do not have is an expected one; other columns are passed over.

    specs: of the bundles that answer the rows.
    """
    expected = dict.fromkeys(name for spec in specs for name in (*spec.request_columns, spec.timestamp))
    for name in expected:
        if name in absent:
            row, keys = absent[name]
            raise Refused(400, f"row {row}: {missing(name, expected, keys)} (a missing value is null)")


def check_timestamp(spec: Spec, columns: Mapping[str, Sequence[Any]]) -> None:
    """Raise Refused if the timestamp was not sent, but an unexpected column with a similar name was."""
    if len(columns) <= len(spec.request_columns) - (spec.timestamp in spec.request_columns):
        return  # no unexpected column, or one is missing, which is refused elsewhere
    for name in _short(columns):
        if name not in spec.request_columns and _alike(name, spec.timestamp):
            raise Refused(
                400,
                f"column '{spec.timestamp}' was not sent, but '{name}' was: did you mean '{spec.timestamp}'? "
                "Without either, the rows are of now",
            )


def not_taken(group: RowGroup, check: InputCheck, problem: Problem) -> str:
    """Build the error message for a value that a model does not take."""
    assert group.vectors is not None
    name, kind = check.features[problem.feature], problem.kind
    model = f"model '{group.variant.bundle.spec.model}' version {group.variant.bundle.version}"
    where, value = _place(group, problem.row, problem.feature)
    refused, first = int(check.refused_rows(group.vectors).sum()), group.request.first_row
    among = f"rows {first} to {first + group.request.rows - 1}" if group.request.is_chunk else f"the {group.rows} rows"
    more = f"; {refused} of {among} are refused" if refused > 1 else ""
    if kind == "null":
        return f"{where} has no value, and {model} takes no missing value there{more}"
    if kind == "category":
        names = group.variant.bundle.spec.feature_categories.get(name)
        known = listed(names or [f"{number:g}" for number in check.limits.categories[name]])
        hint = "" if names is None else nearest(value.strip("'"), names)
        return f"{where}: {value} is none of the values that {model} knows: {known}{more}.{hint}".rstrip(".")
    limit = (check.limits.highest if kind == "high" else check.limits.lowest)[name]
    takes = "takes finite numbers only, up to" if abs(limit) == FLOAT32_MAX else "takes no more than"
    if kind == "low" and abs(limit) != FLOAT32_MAX:
        takes = "takes no less than"
    return f"{where}: {value} is out of range; {model} {takes} {limit:.8g} there{more}"


def no_number(group: RowGroup, lost: np.ndarray[Any, Any]) -> str:
    """Build the error message for rows whose missing or huge values give no number. lost: bool (rows,)."""
    assert group.vectors is not None
    row = int(np.flatnonzero(lost & unusual(group.vectors).any(axis=1))[0])
    where, value = _place(group, row, int(np.flatnonzero(unusual(group.vectors[row]))[0]))
    model = f"model '{group.variant.bundle.spec.model}' version {group.variant.bundle.version}"
    return f"{where} is {value}, and {model} gives no number for such a row"


def _place(group: RowGroup, index: int, feature: int) -> tuple[str, str]:
    """Return where a feature of a row comes from, and its value as it was sent."""
    request, row, name = group.request, group.row(index), group.variant.bundle.spec.features[feature]
    assert group.vectors is not None
    value: Any = group.vectors[index, feature].item()
    what = "feature"
    if request.features is None and name in request.columns:
        what, value = "column", request.columns[name][row]
    elif isinstance(group.vectors, TypedMatrix):
        value = group.vectors.value(index, feature)
    text = INFINITE.get(value) if isinstance(value, int | float) else None
    text = text or shown(value, most=40)
    return f"{what} '{name}', row {request.first_row + row}", text


def listed(names: Collection[str]) -> str:
    """Return names for an error; "..." for those beyond the first dozen."""
    return ", ".join(islice(names, MOST_SHOWN)) + (", ..." if len(names) > MOST_SHOWN else "")


def _short(names: Iterable[str]) -> Iterable[str]:
    return (name for name in islice(names, MOST_LOOKED_AT) if len(name) <= MOST_LOOKED_AT)


@lru_cache(maxsize=512)
def _alike(name: str, timestamp: str) -> bool:
    one, other = (_plain(text) for text in (name, timestamp))
    return one == other or SequenceMatcher(None, one, other).ratio() >= SIMILAR


def _plain(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())
