"""Taking files into tables: what is added, quarantined, skipped, refused, and what the books say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from trimtab.clock import ManualClock
from trimtab.data.batch import open_intake
from trimtab.data.ingest import Ingested, ingest, validate
from trimtab.definitions.push_source import PushSource
from trimtab.definitions.sources import FileSource
from trimtab.errors import CheckFailed, DataError, PolicyError, StageError
from trimtab.policy.model import Checks
from trimtab.records.data import CheckReport, TableVersion
from trimtab.stores.metadata.contract import Metadata, latest
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.tables.contract import Tables
from trimtab.stores.tables.delta import DeltaTables

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SOURCE = FileSource("flights", "data", timestamp="at", known_at="known")
CHECKS = """
import pandera.polars as pa


class Flights(pa.DataFrameModel):
    origin: str = pa.Field(isin=["EWR", "JFK"])
    delay: float = pa.Field(nullable=True, le=100)
"""


@dataclass
class Project:
    """A project folder with its stores."""

    folder: Path
    tables: Tables
    metadata: Metadata
    clock: ManualClock

    def write(self, name: str, *rows: str, header: str = "at,known,origin,delay") -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / "data" / name).write_text("\n".join([header, *rows]) + "\n")

    def ingest(self, **checks: object) -> list[Ingested]:
        return ingest(open_intake(SOURCE, **self.parts(**checks)))  # type: ignore[arg-type]

    def parts(self, **checks: object) -> dict[str, object]:
        policy = Checks.model_validate({"flights": "checks.Flights", "max_failing_rows": 0.5, **checks})
        return {
            "folder": self.folder,
            "checks": policy,
            "tables": self.tables,
            "metadata": self.metadata,
            "clock": self.clock,
        }

    def rows(self, table: str = "flights") -> list[dict[str, object]]:
        return self.tables.scan(table).collect().to_dicts()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "checks.py").write_text(CHECKS)
    store = tmp_path / ".trimtab"
    return Project(tmp_path, DeltaTables(store / "tables"), SqlMetadata(store / "metadata.db"), ManualClock(NOW))


def row(day: int, origin: str = "JFK", delay: float | str = 1.0) -> str:
    return f"2013-01-{day:02} 12:00,2013-01-{day:02} 18:00,{origin},{delay}"


def test_files_become_versions_in_order_of_name(project: Project) -> None:
    project.write("b.csv", row(3))
    project.write("a.csv", row(1), row(2, delay=""))
    done = project.ingest()
    assert [(one.file, one.rows_added, one.rows_quarantined, one.version.id, one.skipped) for one in done] == [
        ("data/a.csv", 2, 0, "flights@0", None),
        ("data/b.csv", 1, 0, "flights@1", None),
    ]
    assert project.rows()[1] == {
        "at": datetime(2013, 1, 2, 12, tzinfo=UTC),
        "known": datetime(2013, 1, 2, 18, tzinfo=UTC),
        "origin": "JFK",
        "delay": None,
    }


def test_the_book_says_what_each_version_holds(project: Project) -> None:
    project.write("a.csv", row(1), row(2))
    project.write("b.csv", row(3))
    project.ingest()
    first, second = project.metadata.find(TableVersion, table="flights", oldest_first=True)
    assert (first.version, first.rows, first.added_rows, first.source) == (0, 2, 2, "data/a.csv")
    assert (second.version, second.rows, second.added_rows, second.source) == (1, 3, 1, "data/b.csv")
    assert second.schema == {
        "at": "timestamp[us, tz=UTC]",
        "known": "timestamp[us, tz=UTC]",
        "origin": "string",
        "delay": "double",
    }
    assert first.created_at == NOW
    assert len({first.content_hash, second.content_hash, first.source_hash, second.source_hash}) == 4
    assert [report.verdict for report in project.metadata.find(CheckReport, table="flights")] == ["pass", "pass"]


def test_a_file_that_was_taken_in_is_skipped_with_the_reason(project: Project) -> None:
    project.write("a.csv", row(1))
    project.ingest()
    project.write("b.csv", row(2))
    project.write("copy of a.csv", row(1))
    done = project.ingest()
    assert [one.skipped for one in done] == ["already in flights@0", None, "already in flights@0, from data/a.csv"]
    assert [one.rows_added for one in done] == [0, 1, 0]
    assert len(project.rows()) == 2
    project.clock.sleep(60)
    assert all(one.skipped for one in project.ingest())
    assert project.metadata.count(TableVersion) == 2


def test_failing_rows_go_to_the_quarantine_with_their_reasons(project: Project) -> None:
    project.write("a.csv", row(1), row(2, "XXX", 200), row(3))
    (one,) = project.ingest()
    assert (one.rows_added, one.rows_quarantined, one.version.rows) == (2, 1, 2)
    assert [item["at"] for item in project.rows()] == [datetime(2013, 1, day, 12, tzinfo=UTC) for day in (1, 3)]
    (bad,) = project.rows("flights_quarantine")
    report = latest(project.metadata, CheckReport, table="flights")
    assert report is not None
    assert (bad["_batch"], bad["_report"], bad["_file"], bad["_row"]) == (
        one.version.source_hash,
        report.id,
        "data/a.csv",
        2,
    )
    assert sorted(str(bad["_reason"]).split("; ")) == [
        "delay: less_than_or_equal_to(100)",
        "origin: isin(['EWR', 'JFK'])",
    ]
    assert json.loads(str(bad["row"])) == {
        "at": "2013-01-02T12:00:00Z",
        "known": "2013-01-02T18:00:00Z",
        "origin": "XXX",
        "delay": 200.0,
    }
    assert (report.verdict, report.rows, report.failing_rows, report.quarantine) == ("warn", 3, 1, "flights_quarantine")
    assert "1 of 3 rows (33.33%) fail, within the 50.00% that may" in report.reason


def test_a_file_with_too_many_failing_rows_is_refused_whole(project: Project) -> None:
    project.write("a.csv", row(1))
    project.write("b.csv", row(2, "XXX"), row(3))
    project.write("c.csv", row(4))
    with pytest.raises(CheckFailed, match=r"data/b.csv: 1 of 2 rows \(50.00%\) fail, more than the 10.00%") as caught:
        project.ingest(max_failing_rows=0.1)
    assert "origin: isin(['EWR', 'JFK']): 1 row, for example XXX" in str(caught.value)
    assert len(project.rows()) == 1
    assert project.tables.names() == ["flights"]
    report = latest(project.metadata, CheckReport, table="flights")
    assert report is not None
    assert (report.verdict, report.source, report.quarantine) == ("fail", "data/b.csv", None)
    # when the policy lets more through, the rest is taken in
    done = project.ingest(max_failing_rows=0.5)
    assert [(one.rows_added, one.rows_quarantined) for one in done] == [(0, 0), (1, 1), (1, 0)]


def test_a_table_may_have_a_limit_of_its_own(project: Project) -> None:
    project.write("a.csv", row(1, "XXX"), row(2))
    with pytest.raises(CheckFailed):
        project.ingest(flights={"schema": "checks.Flights", "max_failing_rows": 0})


def test_a_missing_column_refuses_the_file_whatever_the_share(project: Project) -> None:
    project.write("a.csv", "2013-01-01,2013-01-01,JFK", header="at,known,origin")
    with pytest.raises(CheckFailed, match=r"data/a.csv as a whole fails: delay: column_in_dataframe"):
        project.ingest(max_failing_rows=1)


def test_without_a_schema_only_the_time_is_checked(project: Project) -> None:
    project.write("a.csv", row(1, "XXX", 999), ",2013-01-01,JFK,1")
    (one,) = project.ingest(flights={})
    assert (one.rows_added, one.rows_quarantined) == (1, 1)
    assert project.rows("flights_quarantine")[0]["_reason"] == "at: not_nullable"


def test_other_columns_are_refused_with_the_difference(project: Project) -> None:
    project.write("a.csv", row(1))
    project.ingest()
    project.write("b.csv", "2013-01-02,2013-01-02,1,x", header="at,known,delay,extra")
    with pytest.raises(DataError, match=r"b.csv: .*\n  - origin: string is missing\n  \+ extra: string is new\nTo let"):
        project.ingest()
    assert len(project.rows()) == 1


def test_new_columns_are_taken_in_when_the_policy_says_so(project: Project) -> None:
    project.write("a.csv", row(1))
    project.ingest()
    project.write("b.csv", row(2) + ",x", header="at,known,origin,delay,extra")
    with pytest.raises(DataError, match=r"evolution: { add_columns: allow }"):
        project.ingest()
    project.ingest(evolution={"add_columns": "allow"})
    assert [item["extra"] for item in project.rows()] == [None, "x"]
    first, second = project.metadata.find(TableVersion, table="flights", oldest_first=True)
    assert "extra" not in first.schema
    assert second.schema["extra"] == "string"
    project.write("c.csv", row(3))
    with pytest.raises(DataError, match="- extra: string is missing"):
        project.ingest(evolution={"add_columns": "allow"})


def test_a_csv_file_takes_the_types_of_the_table(project: Project) -> None:
    project.write("a.csv", row(1, delay=1.5))
    project.write("b.csv", row(2, delay=2))
    project.write("c.csv", row(3, delay=""))
    project.ingest()
    assert [item["delay"] for item in project.rows()] == [1.5, 2.0, None]


def test_a_file_that_changed_since_is_refused(project: Project) -> None:
    project.write("a.csv", row(1))
    project.ingest()
    project.write("a.csv", row(1), row(2))
    with pytest.raises(DataError, match=r"data/a.csv has changed since it was ingested as flights@0"):
        project.ingest()
    assert len(project.rows()) == 1


def test_a_file_without_rows_is_a_version_of_nothing(project: Project) -> None:
    project.write("a.csv", row(1))
    project.write("b.csv")
    assert [(one.rows_added, one.version.rows) for one in project.ingest()] == [(1, 1), (0, 1)]
    assert all(one.skipped for one in project.ingest())


def test_parquet_and_csv_may_be_mixed(project: Project) -> None:
    project.write("a.csv", row(1))
    moment = pl.datetime(2013, 1, 2, 12, time_unit="ms")
    pl.select(at=moment, known=moment, origin=pl.lit("JFK"), delay=pl.lit(3, pl.UInt8)).write_parquet(
        project.folder / "data" / "b.parquet"
    )
    assert [one.rows_added for one in project.ingest()] == [1, 1]
    assert [item["delay"] for item in project.rows()] == [1.0, 3.0]


def test_a_schema_that_is_not_there_is_a_policy_error(project: Project) -> None:
    project.write("a.csv", row(1))
    with pytest.raises(PolicyError, match=r"has no schema 'Fligths'. Did you mean 'Flights'"):
        project.ingest(flights="checks.Fligths")


def test_equal_content_gives_equal_hashes_and_other_content_others(tmp_path: Path) -> None:
    def chain(name: str, *delays: float, limit: float = 0.5) -> list[str]:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "checks.py").write_text(CHECKS)
        made = Project(folder, DeltaTables(folder / "t"), SqlMetadata(folder / "m.db"), ManualClock(NOW))
        made.write("a.csv", row(1), row(2))
        made.write("b.csv", *(row(3, delay=delay) for delay in delays))
        return [one.version.content_hash for one in made.ingest(max_failing_rows=limit)]

    one, same, other = chain("one", 1, 200), chain("same", 1, 200, limit=0.9), chain("other", 1, 201)
    assert one == same
    assert one[0] == other[0]
    assert one[1] != other[1]


def test_rows_that_something_else_wrote_are_counted(project: Project) -> None:
    project.write("a.csv", row(1))
    project.ingest()
    project.tables.append("flights", project.tables.scan("flights").collect().to_arrow(), batch="somebody else's")
    project.write("b.csv", row(2))
    assert project.ingest()[1].version.rows == 3


def test_validate_checks_all_rows_of_the_newest_version(project: Project) -> None:
    project.write("a.csv", row(1, delay=50), row(2))
    project.write("b.csv", row(3, delay=60))
    project.ingest()
    assert validate(open_intake(SOURCE, **project.parts())).verdict == "pass"  # type: ignore[arg-type]
    (project.folder / "checks.py").write_text(CHECKS.replace("le=100", "le=10"))
    report = validate(open_intake(SOURCE, **project.parts()))  # type: ignore[arg-type]
    assert (report.verdict, report.rows, report.failing_rows, report.source) == ("fail", 3, 2, "flights@1")
    assert project.metadata.get(CheckReport, report.id) == report
    assert [one.skipped for one in project.ingest()] == ["already in flights@0", "already in flights@1"]


def test_validate_needs_a_table(project: Project) -> None:
    with pytest.raises(StageError, match=r"nothing to validate. Run: trimtab ingest flights"):
        validate(open_intake(SOURCE, **project.parts()))  # type: ignore[arg-type]
    pushed = PushSource("clicks", schema={"at": "time"}, timestamp="at")
    with pytest.raises(StageError, match=r"Run: trimtab up, and send rows to POST /v1/sources/clicks/push"):
        validate(open_intake(pushed, **project.parts()))  # type: ignore[arg-type]


def test_rows_known_before_their_timestamp_are_quarantined_without_a_schema(project: Project) -> None:
    early = "2013-01-04 12:00,2013-01-01 12:00,JFK,1.0"
    project.write("a.csv", row(1), row(2), early, "2013-01-05 12:00,,JFK,")
    parts = {**project.parts(), "checks": Checks.model_validate({"max_failing_rows": 0.5})}
    (done,) = ingest(open_intake(SOURCE, **parts))  # type: ignore[arg-type]  # as the project's own method has it
    assert (done.rows_added, done.rows_quarantined) == (3, 1)
    (rejected,) = project.rows("flights_quarantine")
    assert (rejected["_row"], rejected["_reason"]) == (3, "known: not_before(at)")


def test_a_batch_with_many_rows_known_too_early_is_refused_whole(project: Project) -> None:
    project.write("a.csv", "2013-01-04 12:00,2013-01-01 12:00,JFK,1.0", row(1))
    with pytest.raises(CheckFailed, match=r"known: not_before\(at\): 1 row, for example 2013-01-01 .* is before"):
        project.ingest(max_failing_rows=0.1)
