"""Rows that are packed come back as they were given, as rows and as Arrow tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import DataError
from trimtab.stores.predictions.arrow_rows import schema_of, table_of
from trimtab.stores.predictions.contract import ADDED, LABEL_FIELDS, PREDICTION_FIELDS
from trimtab.stores.predictions.packed_rows import RowPacker, rows_of
from trimtab.testing.predictions import content_rows, label_rows, prediction_rows, turn_rows

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
int32 = st.integers(-(2**31), 2**31 - 1)
micros = st.integers(-(2**50), 2**50)
row = st.fixed_dictionaries(
    {
        "prediction_id": text,
        "model": text,
        "version": int32,
        "role": st.sampled_from(["champion", "challenger"]),
        "served": st.booleans(),
        "route": st.sampled_from(["split", "pinned", "fallback"]),
        "revision": int32,
        "event_time": micros,
        "logged_at": micros,
        "entities": st.none() | st.lists(st.tuples(text, st.none() | text), max_size=3),
        "features": st.none() | st.lists(st.floats(width=32, allow_nan=False), max_size=5),
        "score": st.none() | st.floats(allow_nan=False),
        "confidence": st.none() | st.floats(0, 1),
        "latency_us": int32,
        "cpu_us": int32,
        "error": st.none() | text,
        "probabilities": st.none() | st.lists(st.floats(0, 1), max_size=4),
        "typed": st.none() | st.binary(max_size=4),
    }
)


def packed(columns: Any, kind: str = "predictions") -> bytes:
    buffer = bytearray()
    assert RowPacker(kind).pack_into(buffer, 0, columns) == len(columns["prediction_id"])
    return bytes(buffer)


def arrow(columns: Any, kind: str = "predictions") -> pa.Table:
    schema = schema_of(kind)
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


@settings(deadline=None)  # pyarrow loads pandas on the first array
@given(st.lists(st.lists(row, max_size=6), max_size=4))
def test_any_appends_are_the_table_and_the_rows_that_pyarrow_makes_of_them(appends: list[list[dict[str, Any]]]) -> None:
    columns = [{name: [each[name] for each in rows] for name in PREDICTION_FIELDS} for rows in appends]
    bodies = [packed(each) for each in columns]
    found = table_of(bodies, "predictions")
    found.validate(full=True)
    assert found.equals(pa.concat_tables([schema_of("predictions").empty_table(), *map(arrow, columns)]))
    assert [row for body in bodies for row in rows_of(body, "predictions")] == found.to_pylist()


@pytest.mark.parametrize("width", [0, 1, 30])
@pytest.mark.parametrize("rows", [0, 1, 33])
def test_one_float32_matrix_stands_for_a_column_of_vectors(rows: int, width: int) -> None:
    matrix = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
    body = packed(prediction_rows(["x"] * rows, features=matrix))  # type: ignore[arg-type]  # an array has all that is used of a Sequence
    assert table_of([body], "predictions")["features"].to_pylist() == matrix.tolist()
    assert [row["features"] for row in rows_of(body, "predictions")] == matrix.tolist()


def test_nan_is_kept_apart_from_null() -> None:
    body = packed(prediction_rows(["x"] * 2, features=[[float("nan")], None], score=[float("nan"), None]))
    table = table_of([body], "predictions")
    assert table["score"].null_count == 1
    assert table["features"].null_count == 1
    assert np.isnan(table["features"][0].as_py()[0])
    assert [str(row["score"]) for row in rows_of(body, "predictions")] == ["nan", "None"]


def test_labels_are_packed_too() -> None:
    columns = label_rows(["a", "b"], label=[0.0, None], model=["delay", None], class_name=[None, "late"])
    columns |= {"name": [None, "thumbs"], "source": [None, "user"], "rater": [None, "4f"]}
    assert table_of([packed(columns, "labels")], "labels").equals(arrow(columns, "labels"))
    assert [row["label"] for row in rows_of(packed(columns, "labels"), "labels")] == [0.0, None]


def test_numpy_columns_are_packed_like_lists() -> None:
    columns = {name: np.array(values) for name, values in label_rows(["a", "b"], label=[0.0, 2.5]).items()}
    expected = packed(label_rows(["a", "b"], label=[0.0, 2.5]), "labels")
    assert packed(columns, "labels") == expected


def test_many_appends_become_one_table() -> None:
    bodies = [packed(prediction_rows([f"{n}"])) for n in range(600)]
    table = table_of(bodies, "predictions")
    assert table["prediction_id"].to_pylist() == [f"{n}" for n in range(600)]
    assert table["prediction_id"].num_chunks == 1


def test_the_names_of_the_fields_are_those_of_the_schemas() -> None:
    assert list(PREDICTION_FIELDS) == schema_of("predictions").names
    assert list(LABEL_FIELDS) == schema_of("labels").names


def test_a_missing_column_is_named() -> None:
    columns = dict(prediction_rows(["a"]))
    del columns["score"]
    with pytest.raises(DataError, match="'score' is missing"):
        packed(columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prediction_id": [7]}, "column 'prediction_id': .*; expected text"),
        ({"prediction_id": ["\ud800"]}, "column 'prediction_id': .*; expected text"),
        ({"error": [7]}, "column 'error': .*; expected text"),
        ({"served": ["yes"]}, "column 'served': 'yes'; expected bool"),
        ({"served": [None]}, "column 'served' holds None"),
        ({"latency_us": [0.5]}, "column 'latency_us': .*; expected int32"),
        ({"event_time": [2**63]}, "column 'event_time': .*; expected time"),
        ({"entities": [[("carrier", 7)]]}, "column 'entities': .*; expected pairs"),
        ({"entities": [[(None, "AA")]]}, "column 'entities': .*; expected pairs"),
        ({"entities": [[("carrier",)]]}, "column 'entities': .*; expected pairs"),
        ({"features": [["a"]]}, "column 'features': .*; expected vector"),
        ({"features": np.zeros(1, np.float32)}, "column 'features': .*; expected vector"),
        ({"confidence": ["high"]}, "column 'confidence': .*; expected float64"),
    ],
)
def test_a_column_that_does_not_fit_is_named_with_its_type(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        packed(prediction_rows(["a"], **columns))


def test_rows_of_earlier_releases_are_null_in_the_columns_that_were_added() -> None:
    before = packed(prediction_rows(["a", "b"]))
    after = packed(prediction_rows(["c"], probabilities=[[0.25, 0.75]]))
    assert table_of([before, after], "predictions")["probabilities"].to_pylist() == [None, None, [0.25, 0.75]]
    assert [row["probabilities"] for row in rows_of(before, "predictions")] == [None, None]
    assert len(msgspec.msgpack.decode(before)) == len(PREDICTION_FIELDS) - len(ADDED["predictions"])


def test_one_float64_matrix_stands_for_a_column_of_probabilities() -> None:
    shares = np.array([[0.1, 0.2, 0.7], [1 / 3, 1 / 3, 1 / 3]])
    body = packed(prediction_rows(["a", "b"], probabilities=shares))  # type: ignore[arg-type]  # as above
    assert table_of([body], "predictions")["probabilities"].to_pylist() == shares.tolist()
    assert [row["probabilities"] for row in rows_of(body, "predictions")] == shares.tolist()


@pytest.mark.parametrize(("kind", "rows"), [("turns", turn_rows), ("contents", content_rows)])
def test_turns_and_contents_are_packed_too(kind: str, rows: Callable[..., dict[str, Sequence[Any]]]) -> None:
    columns = rows(["a", "b"])
    if kind == "turns":
        columns |= {"first_token_us": [None, 7], "format_ok": [False, None], "document_ids": [["x", "y"], None]}
    assert table_of([packed(columns, kind)], kind).equals(arrow(columns, kind))


@pytest.mark.parametrize(
    "changed", [{"first_token_us": [2**31]}, {"format_ok": [1]}, {"document_ids": [["a", 7]]}, {"cost_pico": [2**63]}]
)
def test_turns_that_do_not_fit_are_refused(changed: dict[str, Sequence[Any]]) -> None:
    with pytest.raises(DataError, match=next(iter(changed))):
        packed(turn_rows(["a"], **changed), "turns")
