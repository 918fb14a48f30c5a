"""Columns that find entities, rows or predictions: text, whole numbers or truths, and never floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trimtab.data.file_reading import read_file
from trimtab.data.label_files import OutcomeColumns, read_outcomes
from trimtab.definitions.aggregations import count
from trimtab.definitions.collection import collect
from trimtab.definitions.models import Model, Outcomes
from trimtab.definitions.sources import FileSource
from trimtab.definitions.views import Entity, FeatureView
from trimtab.errors import DataError

LONG = ["12345678901234567890", "12345678901234567891"]
AT = "2024-01-01T00:00:00Z"


def read(
    tmp_path: Path, ids: Any, *, keys: tuple[str, ...] = ("id",), like: pa.DataType | None = None, **options: Any
) -> pa.Table:
    if isinstance(ids, list):
        path = tmp_path / "file.csv"
        path.write_text("\n".join(["id,at", *(f"{id_},{AT}" for id_ in ids)]) + "\n")
    else:
        path = tmp_path / "file.parquet"
        pq.write_table(pa.table({"id": ids, "at": [AT] * len(ids)}), path)
    schema = None if like is None else pa.schema([("id", like), ("at", pa.timestamp("us", "UTC"))])
    return read_file(path, FileSource("s", path.name, timestamp="at", **options), like=schema, keys=keys).rows


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (LONG, LONG),
        (["12e4", "4711e9"], ["12e4", "4711e9"]),
        (["1.5", "2"], ["1.5", "2"]),
        (["007", "42"], ["007", "42"]),
        (["A1", "2"], ["A1", "2"]),
        (["1", "2"], [1, 2]),
        (["7.0", ""], [7, None]),
        (["7.0", "8"], [7, 8]),
        (["NaN", "8.0"], [None, 8]),
        (["-9223372036854775808", "9223372036854775807"], [-(2**63), 2**63 - 1]),
        (["true", "False"], [True, False]),
        (["inf", "nan"], ["inf", "nan"]),
        (["", ""], [None, None]),
    ],
)
def test_csv_keys(tmp_path: Path, texts: list[str], expected: list[Any]) -> None:
    assert read(tmp_path, texts)["id"].to_pylist() == expected


def test_whole_numbers_beyond_64_bits_are_text_in_any_column(tmp_path: Path) -> None:
    assert read(tmp_path, LONG, keys=())["id"].to_pylist() == LONG
    assert read(tmp_path, ["12e4"], keys=())["id"].to_pylist() == [120_000.0]
    assert read(tmp_path, [LONG[0], "1.5"], keys=())["id"].type == pa.float64()


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([7.0, None]), [7, None]),
        (pa.array([7.0, float("nan")]), [7, None]),
        (pa.array([7, None], pa.int16()), [7, None]),
        (pa.array([2**64 - 1, 1], pa.uint64()), ["18446744073709551615", "1"]),
        (pa.array([2**40, 1], pa.uint64()), [2**40, 1]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array(["a", None], pa.large_string()), ["a", None]),
    ],
)
def test_parquet_keys(tmp_path: Path, column: pa.Array, expected: list[Any]) -> None:
    found = read(tmp_path, column)["id"]
    assert found.to_pylist() == expected
    assert found.type in (pa.int64(), pa.string())


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1.0, 1.5]), "row 2: the key 1.5 is a double; expected text, whole numbers or booleans"),
        (pa.array([1.2345678901234567e19]), r"row 1: .* is a double, and ids beyond 2\^53 are rounded in it"),
        (pa.array([float("inf")]), "row 1: the key inf is a double"),
    ],
)
def test_floats_that_are_no_ids_are_refused(tmp_path: Path, column: pa.Array, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, column)


def test_keys_take_text_where_the_table_has_text(tmp_path: Path) -> None:
    for ids in (["1", "2"], pa.array([1, 2]), pa.array([1.0, 2.0])):
        assert read(tmp_path, ids, like=pa.string())["id"].to_pylist() == ["1", "2"]


def test_a_float_column_of_an_older_table_does_not_make_floats_of_keys(tmp_path: Path) -> None:
    assert read(tmp_path, ["A1"], like=pa.float64())["id"].to_pylist() == ["A1"]
    assert read(tmp_path, ["1", "2"], like=pa.float64())["id"].type == pa.int64()


def test_dtypes_say_what_a_key_is(tmp_path: Path) -> None:
    assert read(tmp_path, ["1", "2"], dtypes={"id": "text"})["id"].to_pylist() == ["1", "2"]
    assert read(tmp_path, pa.array([1.0, None]), dtypes={"id": "text"})["id"].to_pylist() == ["1", None]
    with pytest.raises(DataError, match="row 2: 'A1' is not of type int64, which this column has in dtypes"):
        read(tmp_path, ["1", "A1"], dtypes={"id": "integer"})


def test_the_keys_of_a_source_are_those_of_its_views_models_outcomes_and_its_own() -> None:
    rows = FileSource("rows", "rows.csv", timestamp="at", key=["row"])
    labels = FileSource("labels", "labels.csv", timestamp="at")
    view = FeatureView("v", Entity("e", keys=["id"]), rows, [count("1d")])
    examples = FileSource("examples", "examples.csv", timestamp="at")
    outcomes = Outcomes(source=labels, prediction_id="prediction")
    model = Model("m", "binary", examples, "y", [view, "x"], outcomes=outcomes)
    found = collect({"m": model})
    assert [found.key_columns(one) for one in (rows, labels, examples)] == [{"row", "id"}, {"prediction"}, {"id"}]


def test_ids_of_labels_that_pandas_wrote_as_floats_are_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"id": [1001.0, 1002.0], "y": [0, 1]}), path)
    columns = OutcomeColumns(prediction_id="id", label="y", known_at=None)
    (found,) = read_outcomes(path, columns, "binary")
    assert found.rows["id"].to_list() == ["1001", "1002"]
    pq.write_table(pa.table({"id": [1001.5, 1002.0], "y": [0, 1]}), path)
    with pytest.raises(DataError, match="id is Float64; expected the ids of predictions as text"):
        list(read_outcomes(path, columns, "binary"))
