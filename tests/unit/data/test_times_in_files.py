"""Times in files: integers by the one rule, formats and zones that a source names, naive ones counted."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trimtab.data.file_reading import Content, read_file
from trimtab.data.label_files import blocks_of
from trimtab.data.times import count_naive
from trimtab.definitions.sources import FileSource
from trimtab.errors import DataError

NEW_YEAR = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
SECONDS = 1_704_067_200
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
NAMES = {"s": "seconds", "ms": "milliseconds", "ns": "nanoseconds"}


def read(tmp_path: Path, values: Any, suffix: str = ".csv", column: str = "at", **options: Any) -> Content:
    """Read one column of times; the timestamp is another one when `column` is."""
    path = tmp_path / f"file{suffix}"
    rows = {column: values} | ({} if column == "at" else {"at": ["2024-01-01T00:00:00Z"] * len(values)})
    if suffix == ".csv":
        lines = [
            ",".join(rows),
            *(",".join("" if v is None else str(v) for v in row) for row in zip(*rows.values(), strict=True)),
        ]
        path.write_text("\n".join(lines) + "\n")
    else:
        pq.write_table(pa.table(rows), path)
    return read_file(path, FileSource("s", path.name, timestamp="at", **options), like=None)


def times(content: Content, column: str = "at") -> list[Any]:
    return list(content.rows[column].to_pylist())


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
@pytest.mark.parametrize("column", ["at", "signup"])
def test_integers_of_another_unit_are_refused_with_the_option_that_names_it(
    tmp_path: Path, suffix: str, unit: str, column: str
) -> None:
    options = {} if column == "at" else {"dtypes": {column: "time"}}
    with pytest.raises(DataError) as refused:
        read(tmp_path, [None, SECONDS * UNITS[unit]], suffix, column, **options)
    text = str(refused.value)
    assert f"column '{column}': row 2: {SECONDS * UNITS[unit]} is not a timestamp" in text
    assert f"as {NAMES[unit]} it would be 2024-01-01T00:00:00Z" in text
    assert f"FileSource(..., time_unit='{unit}')" in text


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("unit", list(UNITS))
def test_a_named_unit_is_read(tmp_path: Path, suffix: str, unit: str) -> None:
    found = times(read(tmp_path, [SECONDS * UNITS[unit], None], suffix, time_unit=unit))
    assert found == [NEW_YEAR, None]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_microseconds_are_times_also_as_pandas_writes_them_beside_nulls(tmp_path: Path, suffix: str) -> None:
    assert times(read(tmp_path, [SECONDS * 10**6, None], suffix)) == [NEW_YEAR, None]
    assert times(read(tmp_path, [float(SECONDS * 10**6), None], suffix)) == [NEW_YEAR, None]


def test_milliseconds_that_look_like_a_date_are_none(tmp_path: Path) -> None:
    """1712011200000 is 2024-04-01; as ISO 8601 it would be a date of the year 1712."""
    with pytest.raises(DataError, match="as milliseconds it would be 2024-04-01"):
        read(tmp_path, [1_712_011_200_000])
    assert times(read(tmp_path, ["20240101"])) == [NEW_YEAR]


@pytest.mark.parametrize("value", [1.5, float("inf"), 1e300])
def test_fractions_and_infinities_are_no_times(tmp_path: Path, value: float) -> None:
    with pytest.raises(DataError, match=r"row 1: .* is not a timestamp"):
        read(tmp_path, [value], ".parquet")


def test_times_beyond_the_calendar_are_refused(tmp_path: Path) -> None:
    column = pa.array([253_402_300_800_000_000], pa.timestamp("us"))
    with pytest.raises(DataError, match=r"row 1: .* outside of the years 1 to 9999"):
        read(tmp_path, column, ".parquet")


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (["01.01.2024 00:00"], {"date_format": "%d.%m.%Y %H:%M"}, NEW_YEAR),
        (["01.01.2024"], {"date_format": "%d.%m.%Y"}, NEW_YEAR),
        (["01/01/2024 01:00"], {"date_format": "%m/%d/%Y %H:%M", "time_zone": "Europe/Berlin"}, NEW_YEAR),
        (["2024-01-01T02:00+0200"], {"date_format": "%Y-%m-%dT%H:%M%z", "time_zone": "Asia/Tokyo"}, NEW_YEAR),
        (["2023-12-31 19:00:00"], {"time_zone": "America/New_York"}, NEW_YEAR),
        (["2024-01-01T00:00:00Z"], {"time_zone": "America/New_York"}, NEW_YEAR),
    ],
)
def test_formats_and_zones_that_a_source_names(
    tmp_path: Path, values: list[str], options: dict[str, Any], expected: dt.datetime
) -> None:
    assert times(read(tmp_path, values, **options)) == [expected]


def test_a_naive_parquet_column_is_read_in_the_zone_of_the_source(tmp_path: Path) -> None:
    column = pa.array([dt.datetime(2023, 12, 31, 19)], pa.timestamp("ms"))
    assert times(read(tmp_path, column, ".parquet", time_zone="America/New_York")) == [NEW_YEAR]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (["31/01/2024"], {"date_format": "%d.%m.%Y"}, r"row 1: '31/01/2024' is not written as date_format='%d.%m.%Y'"),
        (["31.01.2024"], {}, r"row 1: '31.01.2024' is not a time; .*FileSource\(..., date_format="),
        (["soon"], {"time_unit": "ms"}, "row 1: 'soon' is not a whole number, as time_unit='ms' says"),
        (["2023-03-26 02:30:00"], {"time_zone": "Europe/Berlin"}, "doesn't exist in timezone 'Europe/Berlin'"),
        (["2023-10-29 02:30:00"], {"time_zone": "Europe/Berlin"}, "ambiguous in timezone 'Europe/Berlin'"),
    ],
)
def test_what_does_not_fit_is_told_with_its_row(
    tmp_path: Path, values: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, values, **options)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_times_without_a_zone_are_counted_unless_the_source_names_one(tmp_path: Path, suffix: str) -> None:
    values = ["2024-01-01 05:00:00", "2024-01-01T05:00:00Z", None, "2024-01-01"]
    assert read(tmp_path, values, suffix).naive == {"at": 1}
    assert read(tmp_path, values, suffix, time_zone="UTC").naive == {}


def test_a_missing_time_is_not_counted_as_one_without_a_zone() -> None:
    column = pa.chunked_array([pa.array([dt.datetime(2024, 1, 1, 5), None], pa.timestamp("us"))])
    assert count_naive(column) == 1


def test_labels_follow_the_same_rule(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"id,known_at\na,{SECONDS * 10**6}\n")
    (block,) = blocks_of(path, ["id", "known_at"], times=["known_at"])
    assert block["known_at"].to_list() == [NEW_YEAR]
    path.write_text(f"id,known_at\na,{SECONDS * 10**3}\n")
    with pytest.raises(DataError, match=r"row 1: 1704067200000 is not a timestamp \(.* as milliseconds it would be"):
        list(blocks_of(path, ["id", "known_at"], times=["known_at"]))
