"""CSV: pandas reads the same, where no line has more or fewer fields than the header and no text looks missing."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trimtab.serving.protocols.mlflow.csv_body import FEW, MISSING, _by_pyarrow, decode
from trimtab.serving.requests import Refused


def by_pandas(text: str) -> dict[str, list[Any]] | None:
    """Return the columns that pandas reads, None where it refuses."""
    try:
        frame = pd.read_csv(io.StringIO(text))
    except (pd.errors.ParserError, pd.errors.EmptyDataError):
        return None
    return {
        str(name): [None if isinstance(value, float) and math.isnan(value) else value for value in frame[name].tolist()]
        for name in frame.columns
    }


def ours(text: str) -> dict[str, list[Any]] | None:
    try:
        request = decode(text.encode(), {})
    except Refused as refused:
        error = refused
    else:
        assert all(len(values) == request.rows for values in request.columns.values())
        return {name: list(values) for name, values in request.columns.items()}
    assert error.status == 400
    return None


def alike(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return bool(left == right or math.isclose(left, right, rel_tol=1e-15))
    return bool(left == right)


words = "a 1 -2 007 1.5 .5 2. 1e3 1e inf -Infinity NA nan null None True false TRUE 1_0 + -1 é a.1 0x1 -0.0 1.#IND"
# not "\r" alone: pandas loses a comma after a blank line that ends so
marks = [" ", "\t", '"', '""', ",", ",", "\n", "\n", "\r\n", "x y", "Unnamed: 0"]
pieces = st.sampled_from([*words.split(), *marks])


@settings(max_examples=300)
@given(st.lists(pieces, max_size=16).map("".join))
@example("x,y\n  a,b\n")
@example("x,y\n   \n1,2\n")
@example("a,a,,\n1,2,3,4")
@example("a,b\n1,2,3\n4,5")
@example("a,b\n1,2\n1,2,3\n")
@example('a,b\n"x""y"z,2\n')
@example("\ufeffa,b\n1,2")
@example("a,a.1,a\n1,2,3")
@example("a\rb\r1")
@example("a\nTrue\nNA\n")
@example("a\n18446744073709551615\n-1")
@example("a\n18446744073709551615\n1")
@example("a\n99999999999999999999\n-1")
def test_pandas_reads_the_same(text: str) -> None:
    check(text)


def check(text: str) -> None:
    expected, found = by_pandas(text), ours(text)
    if found is None and expected is not None:
        assert is_ragged(text)
    if found is None or expected is None:
        assert found is None
        return
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert len(found[name]) == len(values)
        if any(isinstance(value, str) and value not in MISSING for value in found[name]):
            found[name] = [None if value in MISSING else value for value in found[name]]  # a text that pandas loses
        assert all(map(alike, found[name], values)), (name, found[name], values)


def is_ragged(text: str) -> bool:
    """Whether some line has another number of fields than the first, by Python's own reader."""
    return len({len(line) for line in csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")) if line}) > 1


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "count": st.integers(-(2**63), 2**63 - 1),
                "share": st.floats(allow_nan=True, allow_infinity=True),
                "name, full": st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6),
                "late": st.booleans(),
            }
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_pandas_writes_is_read_as_pandas_reads_it(rows: list[dict[str, Any]]) -> None:
    check(pd.DataFrame(rows).to_csv(index=False))


def test_only_the_empty_field_is_missing_in_a_column_of_texts() -> None:
    body = b"zip,number,late,at\n007,007,true,NA\nNA,NA,NA,1767225600000000\n,nan,0,2026-01-01\nnull,far,1e0,\n"
    kinds = {"zip": "text", "number": "number", "late": "boolean", "at": "time"}
    assert decode(body, kinds).columns == {
        "zip": ["007", "NA", None, "null"],
        "number": [7, None, None, "far"],
        "late": [True, None, 0, 1.0],
        "at": [None, 1767225600000000, "2026-01-01", None],
    }
    assert decode(b"zip\nEWR\nNA\n", {}).columns == {"zip": ["EWR", "NA"]}
    assert decode(b"a,b\nNA,NA\n,2\n", {}).columns == {"a": [None, None], "b": [None, 2.0]}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"carrier,distance\nx,AA,100\ny,UA,200\n", "line 2 has 3 fields; the header has 2"),
        (b"a,b\n1,2,\n3,4,\n", "line 2 has 3 fields; the header has 2; does it end in a comma?"),
        (b"a,b\n1,2\n1,2,3\n", "line 3 has 3 fields; the header has 2"),
        (b'a,b\r\n"x\r\ny",2\r\n\r\n1\r\n', "line 5 has 1 field; the header has 2"),
        (b"a,b,\n1,2\n", "line 2 has 2 fields; the header has 3"),
    ],
)
def test_a_line_with_more_or_fewer_fields_than_the_header_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(Refused) as refused:
        decode(body, {})
    assert str(refused.value) == f"malformed CSV: {why}"
    assert refused.value.status == 400


def test_row_labels_have_a_name() -> None:
    frame = pd.DataFrame({"carrier": ["AA", "UA"], "distance": [100, 200]}, index=["x", "y"])
    assert decode(frame.to_csv().encode(), {}).columns["Unnamed: 0"] == ["x", "y"]  # as pandas has it


@pytest.mark.parametrize("body", [b"", b"\n \n", b"a,b\n1,2\n1,2,3\n", b'a\n"x\n', b"\xff\xfe"])
def test_malformed_csv_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="malformed CSV"):
        decode(body, {})


fields = st.one_of(st.sampled_from([*words.split(), *MISSING, "", " 1", "1 ", "-9223372036854775808", "5.", "1e400"]))
tables = st.integers(2, 3).flatmap(lambda width: st.lists(st.lists(fields, min_size=width, max_size=width), max_size=6))
written = st.one_of(
    st.lists(pieces, max_size=24).map("".join),
    tables.map(lambda rows: "\n".join(["a,b" + ",c" * (len((rows or [["", ""]])[0]) - 2), *map(",".join, rows)])),
)
column_kinds = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.sampled_from(["text", "number", "integer", "boolean", "time"])
)


@settings(max_examples=300)
@given(written, column_kinds)
@example("a,b\n1,x\n1.5,y\n", {"a": "number"})
@example("a,b\n1,x\n,y\n", {"a": "integer"})
@example('a,b\n"1",x\n"2"3,"y"z\n', {})
@example("a,a\r\n1,2\r\n\r\n3,4", {})
def test_pyarrow_reads_nothing_in_another_way(text: str, kinds: dict[str, str]) -> None:
    found = _by_pyarrow(text.encode(), kinds, None)
    if found is None:
        return
    slow = decode(text.encode(), kinds)
    assert found.rows == slow.rows
    assert list(found.columns) == list(slow.columns)
    for name, values in slow.columns.items():
        assert list(map(repr, found.columns[name])) == list(map(repr, values)), name


def test_many_lines_are_read_as_few_are() -> None:
    head, line = "origin,seats,distance,late,at,code\n", "EWR,{n},{n}.5,True,2013-06-01T16:00:00Z,00{n}\n"
    kinds = {"code": "text", "at": "time"}
    text = head + "".join(line.format(n=n) for n in range(10 * FEW)) + ",,NA,,,\n"
    many = decode(text.encode(), kinds)
    assert _by_pyarrow(text.encode(), kinds, None) is not None
    few = decode((head + line.format(n=7) + ",,NA,,,\n").encode(), kinds)
    for name, (seven, missing) in few.columns.items():
        assert [many.columns[name][7], many.columns[name][-1]] == [seven, missing]


@pytest.mark.parametrize(
    "body",
    [
        ",".join(f"c{n}" for n in range(100_001)),
        ",".join(["c"] * 100_001) + "\n1\n",
        "a,b\n" + "1,2\n" * 101,
        "a,b\n" + '"1",2\n' * 101,
        "a\n" + "1\n" * 101,
        "a,b\n" + "1,2\n" * 101 + "1\n",
    ],
)
def test_what_is_too_large_is_refused_before_it_is_read(body: str) -> None:
    with pytest.raises(Refused, match=r"more than (100 rows|10000 columns)") as found:
        decode(body.encode(), {}, 100)
    assert found.value.status == 413
