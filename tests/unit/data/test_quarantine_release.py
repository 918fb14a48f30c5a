"""Quarantined rows that a person releases or drops: once, with a reason, whatever dies in between."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.clock import ManualClock
from trimtab.data.batch import Intake, open_intake
from trimtab.data.checks import Checked
from trimtab.data.ingest import ingest, record_versions
from trimtab.data.quarantine import RefusedBatch, quarantined, read_refused, refused_batch, typed_rows
from trimtab.data.quarantine_release import drop, release
from trimtab.data.rebuild import rebuild
from trimtab.definitions.sources import FileSource
from trimtab.errors import CheckFailed, DataError, StageError, UsageError
from trimtab.policy.model import Checks
from trimtab.records.data import CheckReport, QuarantineEnd
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.tables.delta import DeltaTables

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SOURCE = FileSource("flights", "data", timestamp="at", known_at="known")
CHECKS = """
import pandera.polars as pa

Flights = pa.DataFrameSchema({"delay": pa.Column(float, pa.Check.le(LIMIT), nullable=True)})
"""


class Died(BaseException):
    """The process ends here."""


class Mortal:
    """Hands on to a real store and dies before or after the write that it is told."""

    left = 0

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._store, name)
        if name not in ("put", "append"):
            return inner

        def write(*arguments: Any, **options: Any) -> Any:
            self._tick()
            result = inner(*arguments, **options)
            self._tick()
            return result

        return write

    @staticmethod
    def _tick() -> None:
        Mortal.left -= 1
        if Mortal.left == 0:
            raise Died


@dataclass
class Project:
    """A project folder of one file with two failing rows."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "data").mkdir()
        self.limit(100)
        lines = [f"2013-01-{day:02}T12:00Z,2013-01-{day:02}T18:00Z,{delay}" for day, delay in enumerate(DELAYS, 1)]
        (self.folder / "data" / "a.csv").write_text("\n".join(["at,known,delay", *lines]) + "\n")
        self.tables, self.metadata = DeltaTables(self.folder / "tables"), SqlMetadata(self.folder / "metadata.db")
        ingest(open_intake(SOURCE, **self.parts()))

    def limit(self, limit: int) -> None:
        (self.folder / "checks.py").write_text(CHECKS.replace("LIMIT", str(limit)))

    def parts(self, wrap: Callable[[Any], Any] = lambda store: store) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "checks": Checks.model_validate({"flights": "checks.Flights", "max_failing_rows": 0.5}),
            "tables": wrap(self.tables),
            "metadata": wrap(self.metadata),
            "clock": ManualClock(NOW),
        }

    def intake(self, wrap: Callable[[Any], Any] = lambda store: store) -> Intake:
        return open_intake(SOURCE, **self.parts(wrap))

    def batch(self, name: str = "data/a.csv") -> RefusedBatch:
        found = refused_batch("flights", name, tables=self.tables, metadata=self.metadata)
        assert found is not None
        return found

    def settle(self) -> list[str]:
        parts = {"tables": self.tables, "metadata": self.metadata, "clock": ManualClock(NOW)}
        return [version.id for version in record_versions("flights", **parts)]  # type: ignore[arg-type]

    def delays(self) -> list[float]:
        return self.tables.scan("flights").collect()["delay"].to_list()


DELAYS = (1.5, 200.0, 3.0, 400.0)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_rows_that_pass_now_are_released_into_a_version_of_their_own(project: Project) -> None:
    project.limit(300)
    end = release(project.intake(), project.batch(), rows=[2], reason="the limit was wrong", by="ann")
    assert project.settle() == ["flights@0", "flights@1"]
    assert project.delays() == [1.5, 3.0, 200.0]
    assert (end.rows, end.forced, end.by) == ((2,), False, "ann")
    held = read_refused("flights", tables=project.tables, metadata=project.metadata, limit=9)
    assert [row.row for row in held.rows] == [4]
    assert [row.state for row in project.batch().rows] == ["released", "held"]
    assert project.metadata.verify().breaks == ()
    assert "flights@1" in [version.id for version in record_versions("flights", **_stores(project))]


def test_rows_that_still_fail_are_released_by_force_alone(project: Project) -> None:
    with pytest.raises(CheckFailed, match=r"2 of 2 rows still fail \(2, 4\); to let them in: --force\n  delay: less"):
        release(project.intake(), project.batch(), reason="they are right", by="ann")
    assert project.settle() == ["flights@0"]
    end = release(project.intake(), project.batch(), reason="they are right", by="ann", force=True)
    project.settle()
    assert end.forced
    assert project.delays() == [1.5, 3.0, 200.0, 400.0]
    report = project.metadata.find(CheckReport, table="flights")[0]
    assert (report.verdict, report.notes[0].rows) == ("warn", 2)


def test_rows_known_before_their_time_are_never_released(project: Project) -> None:
    (project.folder / "data" / "b.csv").write_text(
        "at,known,delay\n2013-02-02T12:00Z,2013-02-02T18:00Z,1\n2013-02-02T12:00Z,2013-02-01T18:00Z,1\n"
    )
    ingest(open_intake(SOURCE, **project.parts()))
    with pytest.raises(CheckFailed, match="never let in; drop them"):
        release(project.intake(), project.batch("data/b.csv"), reason="why not", by="ann", force=True)


def test_a_release_that_dies_anywhere_is_there_once(project: Project) -> None:
    died = 0
    while True:
        try:
            Mortal.left = died % 6 + 1
            if not project.metadata.find(QuarantineEnd, table="flights"):
                release(project.intake(Mortal), project.batch(), reason="right", by="ann", force=True)
            record_versions("flights", **_stores(project, Mortal))
            break
        except Died:
            died += 1
    assert died >= 4
    assert project.settle() == ["flights@0", "flights@1"]
    assert project.delays() == [1.5, 3.0, 200.0, 400.0]
    assert len(project.metadata.find(QuarantineEnd, table="flights")) == 1


def test_an_answer_is_given_once(project: Project) -> None:
    batch = project.batch()
    with pytest.raises(UsageError, match="for a reason"):
        drop(project.metadata, batch, reason=" ", by="ann", clock=ManualClock(NOW))
    with pytest.raises(UsageError, match="row 3 is not held in the quarantine; held are 2, 4"):
        drop(project.metadata, batch, rows=[3], reason="noise", by="ann", clock=ManualClock(NOW))
    drop(project.metadata, batch, reason="noise", by="ann", clock=ManualClock(NOW))
    with pytest.raises(UsageError, match="another process released or dropped"):
        release(project.intake(), batch, reason="right", by="ben", force=True)
    with pytest.raises(UsageError, match=r"no row of it is held.*2 were dropped by ann: noise"):
        release(project.intake(), project.batch(), reason="right", by="ben", force=True)
    found = read_refused("flights", tables=project.tables, metadata=project.metadata, limit=9)
    assert (found.files, found.rows) == ((), ())
    assert project.delays() == [1.5, 3.0]


def test_a_rebuild_keeps_released_rows_once(project: Project) -> None:
    release(project.intake(), project.batch(), rows=[2], reason="right", by="ann", force=True)
    project.settle()
    source = FileSource("flights", "data", timestamp="at", known_at="known", time_zone="Europe/Berlin")
    (project.folder / "data" / "a.csv").touch()
    rebuild(open_intake(source, **project.parts()))
    assert sorted(project.delays()) == [1.5, 3.0, 200.0]
    project.limit(500)  # all rows of the file pass now, the released one among them
    rebuild(open_intake(source, **project.parts()))
    assert sorted(project.delays()) == [1.5, 3.0, 200.0, 400.0]


def test_a_table_is_restored_from_files_releases_and_compactions(project: Project) -> None:
    release(project.intake(), project.batch(), rows=[2], reason="right", by="ann", force=True)
    project.settle()
    project.tables.compact("flights", now=NOW)
    (project.folder / "data" / "b.csv").write_text("at,known,delay\n2013-02-02T12:00Z,2013-02-02T18:00Z,7\n")
    ingest(open_intake(SOURCE, **project.parts()))
    before = project.delays()
    shutil.rmtree(project.folder / "tables" / "flights")
    project.tables = DeltaTables(project.folder / "tables")
    ingest(open_intake(SOURCE, **project.parts()))
    assert project.settle() == ["flights@0", "flights@1", "flights@3"]
    assert project.delays() == before == [1.5, 3.0, 200.0, 7.0]


def test_a_file_that_was_refused_whole_has_no_rows_to_release(project: Project) -> None:
    (project.folder / "data" / "b.csv").write_text("at,known,delay\n2013-02-02T12:00Z,2013-02-02T18:00Z,500\n")
    with pytest.raises(CheckFailed):
        ingest(open_intake(SOURCE, **project.parts()))
    with pytest.raises(UsageError, match="It was refused as a whole"):
        release(project.intake(), project.batch("data/b.csv"), reason="right", by="ann", force=True)


def test_a_release_waits_for_the_rest_of_its_batch(project: Project) -> None:
    (project.folder / "data" / "b.csv").write_text("at,known,delay\n" + "2013-02-02T12:00Z,2013-02-02T18:00Z,1\n" * 3)
    (project.folder / "data" / "b.csv").open("a").write("2013-02-02T12:00Z,2013-02-02T18:00Z,500\n")
    Mortal.left = 4  # after the failing rows, before the others
    with pytest.raises(Died):
        ingest(open_intake(SOURCE, **project.parts(Mortal)))
    with pytest.raises(StageError, match="not in table 'flights' yet"):
        release(project.intake(), project.batch("data/b.csv"), reason="right", by="ann", force=True)


VALUES: dict[str, tuple[st.SearchStrategy[Any], pl.DataType]] = {
    "text": (st.text(), pl.String()),
    "number": (st.floats(), pl.Float64()),
    "small": (st.floats(width=32), pl.Float32()),
    "whole": (st.integers(-(2**63), 2**63 - 1), pl.Int64()),
    "truth": (st.booleans(), pl.Boolean()),
    "time": (st.datetimes(datetime(1, 1, 1), datetime(9999, 1, 1)), pl.Datetime("us", "UTC")),
    "day": (st.dates(date(1, 1, 1), date(9999, 1, 1)), pl.Date()),
    "money": (st.decimals(-999, 999, places=2, allow_nan=False), pl.Decimal(10, 2)),
    "bytes": (st.binary(), pl.Binary()),
    "list": (st.lists(st.floats()), pl.List(pl.Float64())),
}


@given(st.data())
def test_values_go_into_the_quarantine_and_back_unchanged(data: st.DataObject) -> None:
    drawn = {
        name: data.draw(st.lists(st.none() | values, min_size=3, max_size=3)) for name, (values, _) in VALUES.items()
    }
    columns = []
    for name, (_, dtype) in VALUES.items():
        plain = pl.Datetime("us") if name == "time" else dtype
        column = pl.Series(name, drawn[name], dtype=plain)
        columns.append(column.dt.replace_time_zone("UTC") if name == "time" else column)
    frame = pl.DataFrame(columns)
    checked = Checked(3, pl.Series([0, 1, 2], dtype=pl.UInt32), pl.Series(["a", "b", "c"]), (), ())
    report = CheckReport(
        id="r", created_at=NOW, table="t", batch_hash="b", source="f", content_hash="c", verdict="warn", rows=3,
        failing_rows=3, max_failing_share=1.0, failures=(), quarantine="q", reason="",
    )  # fmt: skip
    stored = quarantined(frame, checked, report=report)
    rows = [msgspec.json.decode(row) for row in stored["row"].to_pylist()]
    schema = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    back = pl.DataFrame(typed_rows(rows, schema, where="f", numbers=[1, 2, 3]))
    assert back.equals(frame, null_equal=True)


def test_a_value_that_fits_no_longer_names_row_and_column() -> None:
    schema = pl.DataFrame(schema={"x": pl.Int64}).to_arrow().schema
    with pytest.raises(DataError, match=r"a\.csv: row 7: 'x' does not fit the table, where it is int64"):
        typed_rows([{"x": "many"}], schema, where="a.csv", numbers=[7])


def _stores(project: Project, wrap: Callable[[Any], Any] = lambda store: store) -> dict[str, Any]:
    return {"tables": wrap(project.tables), "metadata": wrap(project.metadata), "clock": ManualClock(NOW)}
