"""Reading Parquet and CSV files into types that every table keeps."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data.csv_files import read_csv
from trimtab.data.file_reading import read_file
from trimtab.data.times import UTC_MICROS, to_utc_micros
from trimtab.definitions.sources import FileSource
from trimtab.errors import DataError

SOURCE = FileSource("flights", "data", timestamp="at", known_at="known")
NOON = dt.datetime(2013, 1, 31, 12, tzinfo=dt.UTC)


def read_rows(path: Path, source: FileSource, *, like: pa.Schema | None) -> pa.Table:
    return read_file(path, source, like=like).rows


def parquet(tmp_path: Path, **columns: pa.Array) -> Path:
    size = len(next(iter(columns.values())))
    times = {"at": pa.array([NOON] * size, UTC_MICROS), "known": pa.array([NOON] * size, UTC_MICROS)}
    path = tmp_path / "file.parquet"
    pq.write_table(pa.table({**times, **columns}), path)
    return path


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "file.csv"
    path.write_text(text)
    return path


def like(**types: pa.DataType) -> pa.Schema:
    return pa.schema({"at": UTC_MICROS, "known": UTC_MICROS, **types})


@pytest.mark.parametrize(
    ("given_type", "kept_type"),
    [
        (pa.uint8(), pa.int16()),
        (pa.uint64(), pa.int64()),
        (pa.float16(), pa.float32()),
        (pa.large_string(), pa.string()),
        (pa.dictionary(pa.int8(), pa.string()), pa.string()),
        (pa.timestamp("ms"), UTC_MICROS),
        (pa.timestamp("ns", tz="America/New_York"), UTC_MICROS),
        (pa.date32(), pa.date32()),
        (pa.null(), pa.string()),
        (pa.bool_(), pa.bool_()),
    ],
    ids=str,
)
def test_parquet_types_become_types_that_tables_keep(
    tmp_path: Path, given_type: pa.DataType, kept_type: pa.DataType
) -> None:
    table = read_rows(parquet(tmp_path, x=pa.nulls(2, given_type)), SOURCE, like=None)
    assert table.schema.field("x").type == kept_type
    assert table["x"].null_count == 2


def test_moments_stay_the_same_moment_and_naive_ones_are_utc(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        naive=pa.array([dt.datetime(2013, 1, 31, 12)], pa.timestamp("ns")),
        zoned=pa.array([NOON], pa.timestamp("s", tz="America/New_York")),
    )
    table = read_rows(path, SOURCE, like=None)
    assert table["naive"].to_pylist() == table["zoned"].to_pylist() == [NOON]


def test_dates_and_texts_in_the_columns_of_times_become_times(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    columns = {"at": pa.array([dt.date(2013, 1, 31)]), "known": pa.array(["2013-01-31T13:00:00+01:00"])}
    pq.write_table(pa.table(columns), path)
    table = read_rows(path, SOURCE, like=None)
    assert table["at"].to_pylist() == [NOON.replace(hour=0)]
    assert table["known"].to_pylist() == [NOON]


def test_a_number_is_no_time(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    pq.write_table(pa.table({"at": [1], "known": [2]}), path)
    with pytest.raises(DataError, match="column 'at': row 1: 1 is not a timestamp"):
        read_rows(path, SOURCE, like=None)


def test_a_missing_column_of_times_shows_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'known', which source 'flights' names. Did you mean 'knwon'"):
        read_rows(csv(tmp_path, "at,knwon\n2013-01-31,2013-01-31\n"), SOURCE, like=None)


def test_numbers_take_the_types_of_the_table_when_no_value_changes(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        whole=pa.array([1.0, None]),
        broken=pa.array([1.5, None]),
        wide=pa.array([1, 2], pa.int64()),
        narrow=pa.array([1, 2], pa.int8()),
        precise=pa.array([0.1, 0.2]),
        text=pa.array(["1", "2"]),
    )
    wanted = like(
        whole=pa.int64(),
        broken=pa.int64(),
        wide=pa.float64(),
        narrow=pa.int64(),
        precise=pa.float32(),
        text=pa.int64(),
    )
    types = {field.name: field.type for field in read_rows(path, SOURCE, like=wanted).schema}
    assert types["whole"] == pa.int64()
    assert types["broken"] == pa.float64()
    assert types["wide"] == pa.float64()
    assert types["narrow"] == pa.int64()
    assert types["precise"] == pa.float64()
    assert types["text"] == pa.string()


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    path.write_text("at,known")
    with pytest.raises(DataError, match="not a Parquet file"):
        read_rows(path, SOURCE, like=None)


def test_a_clock_time_without_a_day_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column 'x': is time64"):
        read_rows(parquet(tmp_path, x=pa.nulls(1, pa.time64("us"))), SOURCE, like=None)


def test_an_unsigned_number_that_has_no_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'x'.*18446744073709551615"):
        read_rows(parquet(tmp_path, x=pa.array([2**64 - 1], pa.uint64())), SOURCE, like=None)


def test_csv_columns_get_the_first_type_that_fits_all_their_values(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        "at,known,whole,number,truth,text,code,country,empty\n"
        "2013-01-31T12:00:00Z,2013-01-31 12:00:00,1,1,true,a,007,NA,\n"
        "2013-01-31,,NA,2.5,FALSE,,042,DE,\n",
    )
    table = read_rows(path, SOURCE, like=None)
    assert {field.name: str(field.type) for field in table.schema} == {
        "at": "timestamp[us, tz=UTC]",
        "known": "timestamp[us, tz=UTC]",
        "whole": "int64",
        "number": "double",
        "truth": "bool",
        "text": "string",
        "code": "string",
        "country": "string",
        "empty": "string",
    }
    assert table.drop_columns(["at", "known"]).to_pylist() == [
        {"whole": 1, "number": 1.0, "truth": True, "text": "a", "code": "007", "country": "NA", "empty": None},
        {"whole": None, "number": 2.5, "truth": False, "text": None, "code": "042", "country": "DE", "empty": None},
    ]


def test_csv_columns_take_the_types_of_the_table(tmp_path: Path) -> None:
    path = csv(tmp_path, "at,known,a,b,c,d,e\n2013-01-31,2013-01-31,1,1,1,2013-01-31,2013-01-31 12:00\n")
    wanted = like(a=pa.float64(), b=pa.string(), c=pa.int32(), d=pa.date32(), e=UTC_MICROS)
    table = read_rows(path, SOURCE, like=wanted)
    assert table.schema == wanted.with_metadata(None)
    assert table["b"].to_pylist() == ["1"]
    assert table["e"].to_pylist() == [NOON]


@pytest.mark.parametrize(
    ("type_", "value"),
    [(pa.int64(), "one"), (pa.float64(), "many"), (pa.bool_(), "maybe"), (pa.date32(), "31/01/2013")],
    ids=str,
)
def test_a_csv_value_that_does_not_fit_shows_row_column_and_value(
    tmp_path: Path, type_: pa.DataType, value: str
) -> None:
    path = csv(tmp_path, f"at,known,x\n2013-01-31,2013-01-31,\n2013-01-31,2013-01-31,{value}\n")
    with pytest.raises(DataError, match=rf"column 'x': row 2: '{value}' is not of type {re.escape(str(type_))}"):
        read_rows(path, SOURCE, like=like(x=type_))


def test_a_csv_time_that_does_not_parse_shows_row_column_and_value(tmp_path: Path) -> None:
    path = csv(tmp_path, "at,known\n2013-01-31,2013-01-31\n2013-01-31,31/01/2013\n")
    with pytest.raises(DataError, match=r"file.csv: column 'known': row 2: '31/01/2013' is not a time; expected ISO"):
        read_rows(path, SOURCE, like=None)


def test_a_csv_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a CSV file"):
        read_rows(csv(tmp_path, ""), SOURCE, like=None)
    with pytest.raises(DataError, match="not a CSV file"):
        read_rows(csv(tmp_path, "at,known\n2013-01-31,2013-01-31,more,and more\n"), SOURCE, like=None)
    with pytest.raises(DataError, match="the column 'at' appears twice"):
        read_rows(csv(tmp_path, "at,known,at\n2013-01-31,2013-01-31,1\n"), SOURCE, like=None)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2013-01-31T12:00:00Z", NOON),
        ("2013-01-31 12:00:00+00:00", NOON),
        ("2013-01-31T07:00:00-05:00", NOON),
        ("2013-01-31T14:00:00.000+0200", NOON),
        ("2013-01-31 12:00", NOON),
        (" 2013-01-31T12:00:00.000000 ", NOON),
        ("2013-01-31T12:00:00.0000009Z", NOON),
        ("20130131T120000Z", NOON),
        ("2013-01-31", NOON.replace(hour=0)),
        ("NA", None),
        ("", None),
        (None, None),
    ],
)
def test_forms_of_times(text: str | None, moment: dt.datetime | None) -> None:
    column = pa.chunked_array([pa.array([text, "2013-01-31T12:00:00Z"], pa.string())])
    assert to_utc_micros(column, place="x").to_pylist() == [moment, NOON]


@given(
    st.lists(
        st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1), timezones=st.timezones() | st.just(dt.UTC)),
        max_size=5,
    )
)
def test_any_moment_survives_being_written_as_iso_8601(moments: list[dt.datetime]) -> None:
    column = pa.chunked_array([pa.array([moment.isoformat() for moment in moments], pa.string())])
    # in UTC, since a time that a clock shows twice equals no time of another zone (PEP 495)
    expected = [moment.astimezone(dt.UTC) for moment in moments]
    assert to_utc_micros(column, place="x").to_pylist() == expected


@given(st.lists(st.floats(allow_nan=False, width=64) | st.none(), min_size=1, max_size=20))
def test_numbers_survive_being_written_as_csv(
    tmp_path_factory: pytest.TempPathFactory, values: list[float | None]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    pl.DataFrame({"x": values, "y": [1] * len(values)}, schema_overrides={"x": pl.Float64}).write_csv(path)
    source = FileSource("x", "x.csv", timestamp="x")
    column = read_csv(path, source, times=(), keys=(), like=pa.schema({"x": pa.float64()}), naive={})["x"]
    assert column.to_pylist() == values
