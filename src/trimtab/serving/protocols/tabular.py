"""Rows of a table as JSON clients write them.

A list of lists (or of numbers, one feature a row) holds all features in the order of the bundle's feature list;
a list of objects holds one record a row; one object holds one list a column.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.errors import nearest
from trimtab.serving.protocols.json_text import read
from trimtab.serving.protocols.matrices import matrix
from trimtab.serving.requests import Absent, InferenceRequest, Refused

_decode = msgspec.json.Decoder().decode


def json_object(body: bytes, keys: tuple[str, ...]) -> dict[str, Any]:
    """Read a JSON object that holds exactly one of some keys. Raises Refused."""
    found = json_value(body)
    if not isinstance(found, dict):
        raise Refused(400, f"expected a JSON object with one of {', '.join(keys)}")
    given = [key for key in keys if key in found]
    if len(given) != 1:
        strange = next((key for key in found if key not in keys), "")
        hint = nearest(strange[:60], keys) if strange and not given else ""
        raise Refused(
            400, f"expected exactly one of {', '.join(keys)}; got {', '.join(given) or 'none of them'}.{hint}"
        )
    return found


def json_value(body: bytes) -> Any:
    """Read JSON. Raises Refused."""
    return read(_decode, body, "JSON")


def table(value: Any, key: str) -> InferenceRequest:
    """Read rows in any of the forms. key: their name in errors. Raises Refused."""
    if isinstance(value, dict):
        return columns(value, key)
    if not isinstance(value, list):
        raise Refused(400, f"{key}: expected a list of rows, or an object of column and values")
    if not value:
        return InferenceRequest(0, {})
    if isinstance(value[0], dict):
        return records(value, key)
    features = matrix(value if isinstance(value[0], list) else [[item] for item in value], len(value))
    return InferenceRequest(len(features), {}, features)


def records(value: Any, key: str) -> InferenceRequest:
    """Read one object of column and value a row; columns of only some records go into `absent`. Raises Refused."""
    if not isinstance(value, list):
        raise Refused(400, f"{key}: expected a list of records")
    names: dict[str, None] = {}
    for index, record in enumerate(value):
        if not isinstance(record, dict):
            raise Refused(400, f"{key}[{index}] is not a record; expected an object of column and value")
        names.update(dict.fromkeys(record))
    if len(names) * len(value) > 4 * sum(map(len, value)) + 1000:  # a small body must not become a huge table
        raise Refused(400, f"{key}: the records have few columns in common")
    request = InferenceRequest(len(value), {name: [record.get(name) for record in value] for name in names})
    if any(len(record) < len(names) for record in value):
        request.absent = {name: absent for name in names if (absent := _absent(name, value)) is not None}
    return request


def _absent(name: str, records: list[dict[str, Any]]) -> Absent | None:
    return next((Absent(row, record) for row, record in enumerate(records) if name not in record), None)


def columns(value: dict[str, Any], key: str) -> InferenceRequest:
    """Read one list of values a column. Raises Refused."""
    rows = -1
    for name, column in value.items():
        if not isinstance(column, list):
            raise Refused(400, f"{key}.{name:.60}: expected a list of values, one a row")
        if rows not in (-1, len(column)):
            raise Refused(400, f"{key}.{name:.60} has {len(column)} values; the columns before it have {rows}")
        rows = len(column)
    if rows < 0:
        raise Refused(400, f"{key} is empty; expected an object of column and values")
    return InferenceRequest(rows, value)
