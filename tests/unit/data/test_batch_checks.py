"""Checks of a batch as a whole: size, age, repetitions, references, and columns that change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from trimtab.clock import ManualClock
from trimtab.data.batch import open_intake
from trimtab.data.batch_checks import judge_duplicates, judge_freshness, judge_volume
from trimtab.data.ingest import Ingested, ingest, validate
from trimtab.definitions.sources import FileSource
from trimtab.errors import CheckFailed, DataError, PolicyError
from trimtab.policy.data_checks import Duplicates, Freshness, Volume
from trimtab.policy.model import Checks
from trimtab.records.data import CheckReport
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.tables.delta import DeltaTables

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FLIGHTS = FileSource("flights", "flights", timestamp="at", key=["id"], pii=["carrier"])
CARRIERS = FileSource("carriers", "carriers", timestamp="at")


class Project:
    """A project folder with the files of two sources."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tables, self.metadata = DeltaTables(folder / "tables"), SqlMetadata(folder / "metadata.db")

    def write(self, path: str, *lines: str) -> None:
        (self.folder / path).parent.mkdir(exist_ok=True)
        (self.folder / path).write_text("\n".join(lines) + "\n")

    def ingest(self, source: FileSource = FLIGHTS, **checks: Any) -> list[Ingested]:
        return ingest(open_intake(source, **self._parts(checks)))

    def validate(self, **checks: Any) -> CheckReport:
        return validate(open_intake(FLIGHTS, **self._parts(checks)))

    def _parts(self, checks: dict[str, Any]) -> dict[str, Any]:
        policy = Checks.model_validate(checks)
        stores = {"tables": self.tables, "metadata": self.metadata, "clock": ManualClock(NOW)}
        return {"folder": self.folder, "checks": policy, **stores}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    found = Project(tmp_path)
    found.write("flights/a.csv", "at,id,carrier,x", "2026-02-27T00:00Z,1,UA,1", "2026-02-27T01:00Z,2,ZZ,2")
    found.write("carriers/a.csv", "at,code", "2026-01-01T00:00Z,UA")
    return found


def series(kind: str, n: int, seed: int = 1) -> list[int]:
    random = np.random.default_rng(seed)
    if kind == "walk":
        return list((1000 * np.exp(np.cumsum(random.normal(0, 0.1, n)))).astype(int))
    if kind == "growth":
        return list((1000 * 1.01 ** np.arange(n) * np.exp(random.normal(0, 0.05, n))).astype(int))
    week = np.array([1, 1, 1, 1, 1, 0.3, 0.25] * (n // 7 + 1))[:n] if kind == "week" else 1.0
    return list((1000 * week * np.exp(random.normal(0, 0.2, n))).astype(int))


@pytest.mark.parametrize("kind", ["alike", "walk", "growth", "week"])
def test_sizes_that_go_on_as_before_seldom_fail(kind: str) -> None:
    sizes = series(kind, 300)
    failed = [judge_volume(Volume(), sizes[n], sizes[n - 20 : n]).verdict != "pass" for n in range(20, 300)]
    assert sum(failed) <= 8  # 280 batches at a level of 1 %


@pytest.mark.parametrize("kind", ["alike", "walk", "growth"])
def test_a_tenth_of_the_rows_fails(kind: str) -> None:
    sizes = series(kind, 60)
    found = judge_volume(Volume(on_failure="fail"), sizes[-1] // 10, sizes[:-1])
    assert found.verdict == "fail"
    assert "the last 59 good batches had" in found.reason


def test_sizes_that_wander_seldom_fail_though_each_is_new() -> None:
    sizes = series("walk", 460)
    failed = [judge_volume(Volume(), sizes[n], sizes[n - 60 : n]).verdict != "pass" for n in range(60, 460)]
    assert sum(failed) <= 4  # by the sizes alone, without their changes, some 13


def test_the_size_after_a_small_batch_is_usual_though_its_change_is_not() -> None:
    sizes = [*series("alike", 40), 20]
    assert judge_volume(Volume(), 20, sizes[:-1]).verdict == "warn"
    assert judge_volume(Volume(), 1000, sizes).verdict == "pass"


def test_a_new_size_fails_once_and_is_usual_then() -> None:
    sizes = series("alike", 40)
    assert judge_volume(Volume(), 9000, sizes).verdict == "warn"
    assert judge_volume(Volume(), 9000, [*sizes, 9100]).verdict == "pass"


def test_sizes_are_not_judged_by_few_batches() -> None:
    found = judge_volume(Volume(), 1, [1000] * 7)
    assert (found.verdict, found.reason) == ("pass", "1 row; not judged: 7 good batches before it, 8 are needed")


def test_limits_of_a_size() -> None:
    policy = Volume(min=10, max=20, on_failure="fail")
    assert [judge_volume(policy, rows, []).verdict for rows in (9, 10, 20, 21)] == ["fail", "pass", "pass", "fail"]
    assert judge_volume(policy, 9, []).reason == "9 rows, expected 10 or more"


def test_the_newest_row_until_now_gives_the_age() -> None:
    times = [NOW - timedelta(days=3), NOW + timedelta(days=9), None]
    found = judge_freshness(Freshness.model_validate("2d"), times, NOW)
    assert (found.verdict, found.value) == ("fail", 3 * 86400)
    assert found.reason == "the newest row is of 2026-02-26 00:00 UTC, 3d ago; limit 2d"
    assert judge_freshness(Freshness.model_validate("3d"), times, NOW).verdict == "pass"
    assert judge_freshness(Freshness(), [], NOW).verdict == "fail"


def test_rows_that_repeat_others() -> None:
    frame = pl.DataFrame({"at": [1, 1, 2], "id": [7, 7, 7], "x": [1, 2, 1]})
    source = FileSource("t", "t", timestamp="at", key=["id"])
    found = {by: judge_duplicates(Duplicates(by=by), frame, source).value for by in ("row", "key")}
    assert found == {"row": 0.0, "key": pytest.approx(1 / 3)}
    assert judge_duplicates(Duplicates(by=["id"]), frame, source).value == pytest.approx(2 / 3)
    assert judge_duplicates(Duplicates(by=["id"], max_share=0.7), frame, source).verdict == "pass"
    with pytest.raises(PolicyError, match=r"no column 'idd'.*'id'"):
        judge_duplicates(Duplicates(by=["idd"]), frame, source)


def test_values_refer_to_another_table(project: Project) -> None:
    refer: dict[str, Any] = {"flights": {"references": {"carrier": "carriers.code"}}}
    with pytest.raises(CheckFailed, match=r"references\.carrier: table 'carriers' has no rows yet"):
        project.ingest(**refer)
    project.ingest(CARRIERS)
    with pytest.raises(CheckFailed, match=r"1 row of 2 with a value that carriers.code does not have, such as \*\*\*"):
        project.ingest(**refer)
    refer["flights"]["references"] = {"carrier": {"to": "carriers.code", "on_failure": "warn"}}
    (done,) = project.ingest(**refer)
    assert done.rows_added == 2
    assert "does not have, such as ***" in done.notes[-1]
    refer["flights"]["references"] = {"carrier": {"to": "carriers.code", "max_share": "50%"}}
    assert project.validate(**refer).verdict == "pass"
    with pytest.raises(PolicyError, match=r"source 'carriers' has no column 'cod'.*'code'"):
        project.validate(flights={"references": {"carrier": "carriers.cod"}})


def test_a_stale_table_fails_its_validation_alone(project: Project) -> None:
    (done,) = project.ingest(flights={"freshness": "1d"})
    assert done.rows_added == 2
    report = project.validate(flights={"freshness": "1d"})
    assert report.verdict == "fail"
    assert report.reason == "flights@0: freshness: the newest row is of 2026-02-27 01:00 UTC, 47h ago; limit 1d"


def test_columns_change_as_the_policy_says(project: Project) -> None:
    project.ingest()
    project.write("flights/b.csv", "at,id,x,gate", "2026-02-28T00:00Z,3,2.5,7")
    with pytest.raises(DataError) as refused:
        project.ingest(evolution={"widen": "refuse"})
    told = str(refused.value)
    assert "\n  - carrier: string is missing\n  + gate: int64 is new\n  ^ x: int64 in the table becomes double" in told
    assert "evolution: { add_columns: allow, drop: allow, widen: allow }" in told
    _, done = project.ingest(evolution={"add_columns": "warn", "drop": "warn", "widen": "warn"})
    assert [note for note in done.notes if note.startswith("evolution")] == [
        "evolution: carrier: string is missing",
        "evolution: gate: int64 is new",
        "evolution: x: int64 in the table becomes double",
    ]
    rows = project.tables.scan("flights").collect()
    assert rows.rows()[-1][1:] == (3, None, 2.5, 7)
    assert project.metadata.find(CheckReport, table="flights")[0].verdict == "warn"


def test_personal_data_is_in_no_report_and_no_error(project: Project) -> None:
    source = FileSource("people", "people", timestamp="at", pii=["email", "born", "size"], dtypes={"born": "time"})
    (project.folder / "checks.py").write_text(
        "import pandera.polars as pa\n"
        "People = pa.DataFrameSchema({'email': pa.Column(str, pa.Check.str_contains('@'))})\n"
    )
    rows = "2026-01-01T00:00Z,secret@a.b,1970-01-01,1", "2026-01-01T00:00Z,secretname,1970-01-02,2"
    project.write("people/a.csv", "at,email,born,size", *rows)
    project.ingest(source, people="checks.People", max_failing_rows=0.5)
    (report,) = project.metadata.find(CheckReport, table="people")
    assert (report.failures[0].column, report.failures[0].example) == ("email", "***")
    for line, row in (("x@y,secret,3", "column 'born': row 1"), ("x@y,1970-01-03,secret", "column 'size': row 1")):
        project.write("people/b.csv", "at,email,born,size", f"2026-01-02T00:00Z,{line}")
        with pytest.raises(DataError) as refused:
            project.ingest(source)
        assert row in str(refused.value)
        assert "secret" not in str(refused.value)
