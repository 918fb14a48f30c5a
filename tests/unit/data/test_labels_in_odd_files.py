"""Outcomes in files as the world writes them: ends of lines, marks, quotes, kinds of ids, and files of any length."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data import label_files
from trimtab.data.label_files import OutcomeColumns, column_names, read_outcomes
from trimtab.errors import DataError

COLUMNS = OutcomeColumns(prediction_id="id", label="late", known_at="at")
HEAD = "id,late,at\n"
Rows = list[tuple[str, float, int]]


def outcomes(path: Path, columns: OutcomeColumns = COLUMNS) -> tuple[Rows, int]:
    """Return the rows of all blocks, and how many wait."""
    found = list(read_outcomes(path, columns, "binary"))
    return [row for block in found for row in block.rows.rows()], sum(block.waiting for block in found)


def csv(folder: Path, text: str | bytes) -> Path:
    path = folder / "outcomes.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def parquet(folder: Path, ids: pa.Array, labels: Sequence[Any] = (1, 0)) -> Path:
    path = folder / "outcomes.parquet"
    moments = pa.array([datetime(1970, 1, 1)] * 2)
    pq.write_table(pa.table({"id": ids, "late": pa.array(labels), "at": moments}), path)
    return path


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of few rows."""
    monkeypatch.setattr(label_files, "BLOCK_ROWS", 2)


@pytest.mark.parametrize(
    "text",
    [
        "id,late,at\r\na,1,1970-01-01\r\nb,0,1970-01-01\r\n",
        b"\xef\xbb\xbfid,late,at\r\na,1,1970-01-01\r\nb,0,1970-01-01",
        '"id","late","at"\n"a","1","1970-01-01"\n"b","0","1970-01-01"\n',
        gzip.compress(b"id,late,at\na,1,1970-01-01\nb,0,1970-01-01\n", mtime=0),
        "id,late,at\na,true,1970-01-01\nb,false,1970-01-01\n",
        "id,late,at\na, 1.0 ,1970-01-01T00:00:00Z\nb,0e0,1970-01-01 01:00+01:00\n",
    ],
    ids=["windows", "mark", "quotes", "gzip", "truths", "spaces"],
)
def test_the_ways_to_write_a_csv_file(tmp_path: Path, text: str | bytes) -> None:
    path = csv(tmp_path, text)
    assert column_names(path) == ["id", "late", "at"]
    assert outcomes(path) == ([("a", 1.0, 0), ("b", 0.0, 0)], 0)


def test_ids_in_text_are_what_stands_there(tmp_path: Path) -> None:
    ids = ["1.0", "1", "01", "1e3", "NaN", "null", " a ", '"q"', "a,b", "two\nlines", "é", "99999999999999999999", "NA"]
    pl.DataFrame({"id": ids, "late": [1] * len(ids), "at": ["1970-01-01"] * len(ids)}).write_csv(tmp_path / "o.csv")
    assert [id_ for id_, _, _ in outcomes(tmp_path / "o.csv")[0]] == ids


@pytest.mark.parametrize("label", ["", "NaN", "nan", "NA", "null", "None", " NULL "])
def test_a_text_for_no_value_is_no_outcome_yet(tmp_path: Path, label: str) -> None:
    assert outcomes(csv(tmp_path, f"{HEAD}a,{label},1970-01-01\nb,1,\n")) == ([], 2)
    assert outcomes(csv(tmp_path, f"{HEAD}a,{label},1970-01-01\nb,true,1970-01-01\n")) == ([("b", 1.0, 0)], 1)


def test_truth_values_beside_numbers_are_no_outcomes(tmp_path: Path, short: None) -> None:
    with pytest.raises(DataError) as refused:
        outcomes(csv(tmp_path, HEAD + "a,true,\nb,NA,\nc,,\nd,false,\ne,1,\nf,0,\n"))
    assert "2 values are wrong" in str(refused.value)
    assert "row 1: late is 'true'; expected 0 or 1\n  row 4: late is 'false'" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "a,1,1970-01-01,more\n", "not a CSV file: found more fields than defined"),
        (HEAD + '"a,1,1970-01-01\n', "not a CSV file: could not parse"),
        (HEAD.encode() + b"\xff,1,1970-01-01\n", "not a CSV file: invalid utf-8"),
        ("id,late,at,late\na,1,1970-01-01,0\n", "the column 'late' appears twice"),
        (HEAD + "a,1,1970-01-01\n\nb,1,1970-01-01\n", "row 2: id is None; expected the id of a prediction"),
        (HEAD.replace(",", ";") + "a;1;1970-01-01\n", "there is no column 'id'"),
        (HEAD.encode("utf-16"), "there is no column 'id'"),
        ("", "cannot be read"),
        ("\n", "cannot be read"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError) as refused:
        outcomes(csv(tmp_path, text))
    assert "outcomes.csv" in str(refused.value)
    assert message in str(refused.value)


def test_files_without_rows_have_no_outcomes(tmp_path: Path) -> None:
    assert outcomes(csv(tmp_path, HEAD)) == ([], 0)
    pl.DataFrame(schema={"id": pl.String, "late": pl.Null, "at": pl.Null}).write_parquet(tmp_path / "none.parquet")
    assert outcomes(tmp_path / "none.parquet") == ([], 0)


def test_a_packed_file_is_refused_by_its_ending(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv.gz"
    path.write_bytes(gzip.compress(HEAD.encode()))
    with pytest.raises(DataError, match=r"is not a Parquet or CSV file; expected .* ends in \.parquet or \.csv"):
        column_names(path)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([7, 2**62]), ["7", str(2**62)]),
        (pa.array([7, 2**32], pa.uint64()), ["7", str(2**32)]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
        (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
        (pa.array([b"a", b"b"]), ["a", "b"]),
        (pa.array([Decimal(7), Decimal(10**30)], pa.decimal128(38, 0)), ["7", str(10**30)]),
    ],
    ids=["int64", "uint64", "dictionary", "large", "view", "bytes", "decimal"],
)
def test_ids_of_parquet_files(tmp_path: Path, ids: pa.Array, expected: list[str]) -> None:
    assert [id_ for id_, _, _ in outcomes(parquet(tmp_path, ids))[0]] == expected


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (pa.array([1.5, 2.0]), "id is Float64; expected the ids of predictions as text"),
        (pa.array([b"a", b"\xff"]), "id has bytes that are not UTF-8; expected the ids as text"),
        (pa.array([Decimal("1.5"), Decimal(2)]), "id is Decimal(precision=2, scale=1); expected the ids of"),
        (pa.array([True, False]), "id is Boolean; expected the ids of predictions as text"),
        (pa.array([2**64 - 1, 1], pa.uint64()), "column 'id': Integer value 18446744073709551615 not in range"),
        (pa.array([None, "a"]), "row 1: id is None; expected the id of a prediction"),
    ],
    ids=["float", "bytes", "decimal", "truth", "large", "none"],
)
def test_what_is_no_id(tmp_path: Path, ids: pa.Array, message: str) -> None:
    with pytest.raises(DataError) as refused:
        outcomes(parquet(tmp_path, ids))
    assert message in str(refused.value)


def test_a_column_that_is_twice_in_a_parquet_file_is_refused(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array([1]), pa.array([0])], names=["id", "late", "late"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(DataError, match=r"twice\.parquet: .*'late' has more than one occurrence"):
        outcomes(tmp_path / "twice.parquet", OutcomeColumns(prediction_id="id", label="late", known_at=None))


def test_other_columns_may_hold_anything(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "late": [1], "more": pa.array([1], pa.time64("us"))}), tmp_path / "o.parquet")
    columns = OutcomeColumns(prediction_id="id", label="late", known_at=None)
    assert [id_ for id_, _, _ in outcomes(tmp_path / "o.parquet", columns)[0]] == ["a"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_are_numbered_through_all_blocks(tmp_path: Path, short: None, suffix: str) -> None:
    path, rows = tmp_path / f"outcomes.{suffix}", 9

    def written(**changed: list[Any]) -> Path:
        columns = {"id": [f"{n}" for n in range(rows)], "late": ["1"] * rows, "at": ["2013-01-01"] * rows}
        frame = pl.DataFrame(columns | changed)
        frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
        return path

    with pytest.raises(DataError) as refused:
        outcomes(written(late=["1"] * 4 + ["x"] + ["1"] * 3 + ["2"]))
    assert "2 values" in str(refused.value)
    assert "row 5: late is 'x'" in str(refused.value)
    assert "row 9: late is '2'" in str(refused.value)
    with pytest.raises(DataError, match="row 8: 'soon' is not a time"):
        outcomes(written(at=["2013-01-01"] * 7 + ["soon"] * 2))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_of_a_long_file_a_block_is_held_at_a_time(tmp_path: Path, suffix: str) -> None:
    rows = 3 * label_files.BLOCK_ROWS
    frame = pl.DataFrame({"id": pl.int_range(rows, eager=True).cast(pl.String), "late": pl.repeat(1, rows, eager=True)})
    path = tmp_path / f"outcomes.{suffix}"
    frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path, row_group_size=rows)
    columns = OutcomeColumns(prediction_id="id", label="late", known_at=None)
    found = [block.rows for block in read_outcomes(path, columns, "binary")]
    assert max(block.height for block in found) <= label_files.BLOCK_ROWS
    assert pl.concat(found)["id"].equals(frame["id"])


LABEL = st.sampled_from(["0", "1", " 1", "1.0", "", "NA", "nan", "true", "False", "2", "x", "inf"])


@given(labels=st.lists(LABEL, min_size=1, max_size=9), rows=st.integers(1, 9))
def test_in_blocks_of_any_size_the_same_is_read_and_refused(
    tmp_path_factory: pytest.TempPathFactory, labels: list[str], rows: int
) -> None:
    path = csv(tmp_path_factory.mktemp("csv"), HEAD + "".join(f"{n},{y},1970-01-01\n" for n, y in enumerate(labels)))

    def said(rows: int) -> object:
        with pytest.MonkeyPatch.context() as size:
            size.setattr(label_files, "BLOCK_ROWS", rows)
            try:
                return outcomes(path)
            except DataError as error:
                return str(error)

    assert said(rows) == said(100)
