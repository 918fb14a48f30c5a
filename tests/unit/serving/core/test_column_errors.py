"""Columns that are missing, in all rows or in some: refused, with the name that was meant."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.serving.core.column_errors import check_timestamp, listed, missing
from trimtab.serving.requests import Refused
from trimtab.testing.bundles import plain_spec
from unit.serving.conftest import Packer, Served, TableOf

COLUMNS = ("carrier", "dest", "distance")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (["carrier", "dst", "distance"], "; 'dst' was sent: did you mean 'dest'?"),
        (["carrier", "Dest"], "; 'Dest' was sent: did you mean 'dest'?"),
        (["features"], "; expected columns: carrier, dest, distance; sent: features"),
        ([], "; expected columns: carrier, dest, distance; sent: none"),
        ([f"c{n}" for n in range(13)], f"sent: {', '.join(f'c{n}' for n in range(12))}, ..."),
        (["x" * 1000], "; sent: none"),
    ],
)
def test_a_missing_column_is_named_with_what_was_sent(sent: list[str], expected: str) -> None:
    text = missing("dest", COLUMNS, sent)
    assert text.startswith("request column 'dest' is missing; ")
    assert text.endswith(expected)


def test_a_column_that_is_asked_for_is_no_misspelt_one() -> None:
    assert "did you mean" not in missing("dist", ("dist", "distance"), ["distance"])


@pytest.mark.parametrize(
    "name", ["scheduledat", "scheduledAt", "schedule_at", "sheduled_at", "scheduled", "Scheduled At"]
)
def test_a_misspelt_timestamp_is_refused(name: str) -> None:
    spec = plain_spec("delay", COLUMNS, timestamp="scheduled_at")
    with pytest.raises(Refused, match=f"'{name}' was: did you mean 'scheduled_at'") as refused:
        check_timestamp(spec, {**{key: [1] for key in COLUMNS}, name: ["2013-06-01"]})
    assert refused.value.status == 400


@pytest.mark.parametrize("name", ["created_at", "at", "updated_at", "note", "x" * 5000, ""])
def test_other_columns_may_stand_for_themselves(name: str) -> None:
    spec = plain_spec("delay", COLUMNS, timestamp="scheduled_at")
    check_timestamp(spec, {**{key: [1] for key in COLUMNS}, name: [1]})


def test_a_request_column_that_is_called_nearly_so_is_not_meant() -> None:
    check_timestamp(plain_spec("delay", ("scheduled_ad",), timestamp="scheduled_at"), {"scheduled_ad": [1]})


def test_names_beyond_a_dozen_are_told_of() -> None:
    assert listed("abcdefghijkl") == "a, b, c, d, e, f, g, h, i, j, k, l"
    assert listed("abcdefghijklm").endswith(", l, ...")


TWO = {"row": 0.0, "moment": "2013-06-01T16:00:00Z"}
BAD = [
    ([TWO, {"moment": TWO["moment"]}], "row 1: request column 'row' is missing; expected columns: row, moment"),
    ([TWO, TWO | {"note": 1}, {"rwo": 1.0, "moment": TWO["moment"]}], "row 2: request column 'row' is missing; 'rwo'"),
    ([{"rwo": 1.0}, TWO], "row 0: request column 'row' is missing; 'rwo' was sent: did you mean 'row'?"),
    ([TWO, {"row": 1.0}], "row 1: request column 'moment' is missing"),
    ([{"row": 1.0, "momen": TWO["moment"]}], "'momen' was: did you mean 'moment'?"),
]


@pytest.mark.parametrize("path", ["/invocations", "/v1/models/delay:predict"])
@pytest.mark.parametrize(("rows", "why"), BAD)
def test_a_row_without_a_column_is_refused(
    served: Served, pack: Packer, table_of: TableOf, path: str, rows: list[Any], why: str
) -> None:
    served.serve(table_of(("champion", pack(), 100)))
    key = "dataframe_records" if path == "/invocations" else "instances"
    reply = served.browser.post(path, {key: rows}, content_type="application/json")
    assert reply.status == 400
    assert why in str(reply.json())
    assert served.rows() == []


@pytest.mark.parametrize("path", ["/invocations", "/v1/models/delay:predict"])
def test_a_null_is_a_missing_value_and_a_column_nobody_asks_for_may_be_absent(
    served: Served, pack: Packer, table_of: TableOf, path: str
) -> None:
    served.serve(table_of(("champion", pack(), 100)))
    key = "dataframe_records" if path == "/invocations" else "instances"
    rows = [TWO, TWO | {"note": 1, "moment": None}, {"row": 1.0, "moment": None, "remark": []}]
    assert served.browser.post(path, {key: rows}, content_type="application/json").status == 200
    assert len(served.rows()) == 3
