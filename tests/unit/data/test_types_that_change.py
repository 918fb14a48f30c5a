"""Files whose columns have other types than the first file gave: widened, or refused with the command that mends."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trimtab.clock import ManualClock
from trimtab.data.batch import open_intake
from trimtab.data.ingest import Ingested, ingest
from trimtab.data.rebuild import rebuild
from trimtab.definitions.sources import FileSource
from trimtab.errors import DataError
from trimtab.policy.model import Checks
from trimtab.records.data import TableVersion
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.tables.delta import DeltaTables

AT = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


class Files:
    """A source of files with one column x; each file is an hour later, so that no two rows are equal."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.source = FileSource("s", "data", timestamp="at", **options)
        self.folder = folder
        self.tables = DeltaTables(folder / "tables")
        self.metadata = SqlMetadata(folder / "metadata.db")
        self.count = 0
        (folder / "data").mkdir()

    def take(self, values: list[str] | pa.Array) -> Ingested:
        """Write a file, CSV for texts, and take it in."""
        self.count += 1
        at = (AT + dt.timedelta(hours=self.count)).isoformat()
        path = self.folder / "data" / f"{self.count:02}"
        if isinstance(values, list):
            path.with_suffix(".csv").write_text("\n".join(["at,x", *(f"{at},{value}" for value in values)]) + "\n")
        else:
            pq.write_table(pa.table({"at": [at] * len(values), "x": values}), path.with_suffix(".parquet"))
        return ingest(open_intake(self.source, **self.parts()))[-1]

    def parts(self) -> dict[str, Any]:
        stores = {"tables": self.tables, "metadata": self.metadata, "clock": ManualClock(AT)}
        return {"folder": self.folder, "checks": Checks(), **stores}

    @property
    def x(self) -> pl.Series:
        return self.tables.scan("s").collect()["x"]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def csv(*values: str) -> list[str]:
    return list(values)


@pytest.mark.parametrize(
    ("first", "second", "type_", "values"),
    [
        (csv("", ""), csv("1.5"), "double", [None, None, 1.5]),
        (csv("NA", "NA"), csv("1.5"), "double", [None, None, 1.5]),
        (csv("", ""), csv("2"), "int64", [None, None, 2]),
        (csv("", ""), csv("true"), "bool", [None, None, True]),
        (csv("", ""), csv("a"), "string", [None, None, "a"]),
        (csv("", ""), csv("", "2"), "int64", [None, None, None, 2]),
        (csv("", ""), pa.array([1.5]), "double", [None, None, 1.5]),
        (pa.nulls(2), pa.array([2], pa.int16()), "int16", [None, None, 2]),
        (pa.nulls(2), csv("2.5"), "double", [None, None, 2.5]),
        (pa.array([None, None], pa.string()), pa.array([AT], pa.timestamp("us", "UTC")), None, [None, None, AT]),
        (csv("1", "2"), csv("1.5"), "double", [1.0, 2.0, 1.5]),
        (csv("1", "2"), csv("3.0"), "int64", [1, 2, 3]),
        (csv("1", "2"), csv(""), "int64", [1, 2, None]),
        (csv("1.5"), csv("2"), "double", [1.5, 2.0]),
        (pa.array([1], pa.int8()), csv("300"), "int64", [1, 300]),
        (pa.array([1], pa.int32()), pa.array([2**40]), "int64", [1, 2**40]),
        (pa.array([1], pa.int32()), pa.array([1.5]), "double", [1.0, 1.5]),
        (pa.array([0.5], pa.float32()), pa.array([0.1]), "double", [0.5, 0.1]),
        (pa.array([0.5]), pa.array([0.25], pa.float32()), "double", [0.5, 0.25]),
        (pa.array([AT.date()]), pa.array([AT], pa.timestamp("ns")), None, [AT, AT]),
        (pa.array([AT], pa.timestamp("s", "UTC")), pa.array([AT.date()]), None, [AT, AT]),
        (pa.array(["a"]).dictionary_encode(), pa.array(["b"], pa.large_string()), "string", ["a", "b"]),
        (csv("a"), csv("1"), "string", ["a", "1"]),
    ],
    ids=str,
)
def test_a_later_file_widens_the_column(files: Files, first: Any, second: Any, type_: str | None, values: Any) -> None:
    before = files.take(first).version
    assert files.take(second).rows_added == len(second)
    assert files.x.to_list() == values
    assert (files.tables.schema("s") or {})["x"] == (type_ or "timestamp[us, tz=UTC]")
    # the version before is what it was, and the books know the new columns
    assert files.tables.schema("s", version=before.version) == before.schema
    newest = files.metadata.find(TableVersion, limit=1)[0]
    assert (newest.rows, newest.schema) == (len(values), files.tables.schema("s"))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            csv("1"),
            csv("one"),
            r"'one' is not of type int64, .*dtypes=\{'x': 'text'\}\), .*: trimtab ingest s --rebuild",
        ),
        (csv("true"), csv("maybe"), "'maybe' is not of type bool.*trimtab ingest s --rebuild"),
        (
            pa.array([1]),
            pa.array(["one"]),
            r"~ x: int64 in the table, string in the batch\n.* s --rebuild",
        ),
        (pa.array([2**53 + 1]), pa.array([1.5]), "column 'x' is int64; as double some of its values would change"),
    ],
    ids=str,
)
def test_what_would_change_values_is_refused_with_the_command(
    files: Files, first: Any, second: Any, message: str
) -> None:
    files.take(first)
    with pytest.raises(DataError, match=message):
        files.take(second)


def test_the_command_makes_text_of_what_is_partly_text(files: Files) -> None:
    files.take(csv("1", "2"))
    with pytest.raises(DataError, match="--rebuild"):
        files.take(csv("one"))
    files.source = FileSource("s", "data", timestamp="at", dtypes={"x": "text"})
    rebuild(open_intake(files.source, **files.parts()))
    ingest(open_intake(files.source, **files.parts()))
    assert files.x.to_list() == ["1", "2", "one"]
    assert files.take(csv("3")).rows_added == 1


@pytest.mark.parametrize("first", [csv("1", "2"), pa.array([1, 2])], ids=["csv", "parquet"])
def test_the_command_looks_at_new_files_too(files: Files, first: Any) -> None:
    files.take(first)
    with pytest.raises(DataError, match="~ x: int64 in the table, string in the batch"):
        files.take(pa.array(["one"]))
    assert rebuild(open_intake(files.source, **files.parts())).version.schema["x"] == "string"
    ingest(open_intake(files.source, **files.parts()))
    assert files.x.to_list() == ["1", "2", "one"]
    assert files.take(pa.array([3])).rows_added == 1
    assert files.x.to_list()[-1] == "3"


def test_columns_that_no_type_fits_are_named_with_the_file(files: Files) -> None:
    files.take(pa.array([1.5]))
    with pytest.raises(DataError, match="~ x: double in the table, bool in the batch"):
        files.take(pa.array([True]))
