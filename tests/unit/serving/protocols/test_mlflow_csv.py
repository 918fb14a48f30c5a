"""CSV: whatever the text, pandas reads the same."""

from __future__ import annotations

import io
import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trimtab.serving.protocols.mlflow_csv import decode
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
    assert (found is None) == (expected is None)
    if found is None or expected is None:
        return
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert len(found[name]) == len(values)
        assert all(map(alike, found[name], values)), (name, found[name], values)


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


def test_a_column_of_texts_stays_as_it_is_written() -> None:
    request = decode(b"zip,number\n007,007\nNA,8\n", {"zip": "text", "number": "integer"})
    assert request.columns == {"zip": ["007", None], "number": [7, 8]}


def test_row_labels_are_dropped() -> None:
    frame = pd.DataFrame({"carrier": ["AA", "UA"], "distance": [100, 200]}, index=["x", "y"])
    assert decode(frame.to_csv().encode(), {}).columns["Unnamed: 0"] == ["x", "y"]  # as pandas has it
    assert decode(b"carrier,distance\nx,AA,100\ny,UA,200\n", {}).columns == {
        "carrier": ["AA", "UA"],
        "distance": [100, 200],
    }


@pytest.mark.parametrize("body", [b"", b"\n \n", b"a,b\n1,2\n1,2,3\n", b'a\n"x\n', b"\xff\xfe"])
def test_malformed_csv_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="malformed CSV"):
        decode(body, {})
