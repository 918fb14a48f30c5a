"""Features of a training set: what fails is not trained on, and the report is stored."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from kit.small_project import AS_OF, DEFINITIONS, POLICY, make_project, open_small
from trimtab.app.stages import ingesting, pipeline
from trimtab.app.stages.feature_checks import feature_report
from trimtab.errors import CheckFailed, PolicyError
from trimtab.records.data import CheckReport
from trimtab.records.training import DatasetVersion


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The small project, with a feature that is constant, one that has gaps, and one that is the label."""
    made = make_project(tmp_path / "project")
    rows = pl.read_parquet(made / "rows.parquet").with_columns(
        same=pl.lit(3.0),
        gaps=pl.when(pl.int_range(pl.len()) % 4 == 0).then(None).otherwise(pl.col("age")),
        twin=pl.col("bad") * 2.0,
    )
    rows.write_parquet(made / "rows.parquet")
    names = '["amount", "age", "same", "gaps", "twin"]'
    (made / "definitions.py").write_text(DEFINITIONS.replace('["amount", "age"]', names))
    return made


def snapshot(folder: Path, checks: str) -> tuple[DatasetVersion, CheckReport | None]:
    (folder / "trimtab.yaml").write_text(POLICY + f"checks: {{ features: {{ {checks} }} }}\n")
    workspace = open_small(folder)
    ingesting.ingest(workspace)
    found = pipeline.snapshot(workspace, "risk", as_of=AS_OF)
    return found, feature_report(workspace, found)


def test_a_constant_feature_is_reported(folder: Path) -> None:
    version, report = snapshot(folder, "constant: warn")
    assert report is not None
    assert (report.verdict, report.batch_hash) == ("warn", version.id)
    assert [(r.check, r.verdict) for r in report.results] == [("features", "pass"), ("same.constant", "warn")]
    assert report.results[1].reason == "has the same value in all rows: 3.0"


@pytest.mark.parametrize(
    ("checks", "told"),
    [
        ("max_missing: 20%", r"gaps\.missing: missing in 25\.00% of the rows, more than the 20\.00% that may be"),
        ("ranges: { age: [20, null] }", r"age\.range: \d+ values are not in \[20\.0, null\], such as 1[89]"),
        ("constant: fail", r"same\.constant: has the same value in all rows: 3\.0"),
        ("leakage: fail", r"twin\.leakage: alone explains the label: roc_auc 1\.0000, limit 0\.99 \(gates\.leakage\)"),
    ],
)
def test_what_fails_is_not_trained_on(folder: Path, checks: str, told: str) -> None:
    with pytest.raises(CheckFailed, match=told):
        snapshot(folder, checks)
    metadata = open_small(folder).metadata
    assert metadata.count(DatasetVersion) == 0
    (report,) = metadata.find(CheckReport, table="features:risk")
    assert report.verdict == "fail"


def test_a_range_of_no_feature_is_refused(folder: Path) -> None:
    with pytest.raises(PolicyError, match=r"model 'risk' has no feature 'aeg'.*'age'"):
        snapshot(folder, "ranges: { aeg: [0, 1] }")


def test_nothing_is_trained_on_stale_rows(folder: Path) -> None:
    (folder / "trimtab.yaml").write_text(POLICY + "checks: { rows: { freshness: 2d } }\n")
    workspace = open_small(folder)
    ingesting.ingest(workspace)
    with pytest.raises(CheckFailed, match=r"rows@0: freshness: the newest row is of 2026-01-25 23:00 UTC, 6d ago"):
        pipeline.snapshot(workspace, "risk", as_of=AS_OF)
