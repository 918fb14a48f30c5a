"""Gates of a project, from the training to the bundle: own gates, kept columns, frozen thresholds, verdict files."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import polars as pl

from kit.small_project import DEFINITIONS, POLICY, make_project, open_small, trained
from trimtab.app.stages import pipeline
from trimtab.gates.report import gates_hash

OWN = """

@tt.gate(columns=["region"])
def knows_regions(data):
    return tt.Judgement(set(data.frame["region"]) == {"a", "b"}, value=float(len(data.frame)), message="regions")


@tt.gate
def broken(data):
    return data.nothing
"""
LIMIT = "accuracy: { min: 0.5, resamples: 100 }"
CUSTOM = f"{LIMIT}, custom: {{ warn: [broken] }}, slices: {{ by: [region], max_drop: 1, min_rows: 20 }}"


def test_what_was_frozen_before_the_run_is_in_the_report_and_the_bundle(tmp_path: Path) -> None:
    # given a project with gates of its own, and a slice of a column that is no feature
    folder = make_project(tmp_path / "project")
    (folder / "definitions.py").write_text(DEFINITIONS + OWN)
    (folder / "trimtab.yaml").write_text(POLICY.replace(LIMIT, CUSTOM))
    _with_region(folder / "rows.parquet")
    workspace = open_small(folder)

    # when a run is judged
    run = trained(workspace)
    report = pipeline.evaluate(workspace, run)

    # then own gates saw the column, an error names its line, and the thresholds are those from before the run
    found = {result.metric: result for result in report.results}
    assert found["knows_regions"].verdict == "pass"
    assert found["broken"].verdict == "warn"
    assert f"definitions.py:{_line(folder, 'data.nothing')}: AttributeError" in found["broken"].reason
    assert any(result.gate == "slices" and "region = " in result.reason for result in report.results)
    assert run.gates["accuracy"]["min"] == 0.5
    assert report.thresholds == report.frozen == gates_hash(run.gates)
    assert report.frozen_at == run.gates_frozen_at
    assert report.runtime == "onnx"
    workspace.metadata.close()

    # when a limit is changed after the run
    text = (folder / "trimtab.yaml").read_text().replace("min: 0.5", "min: 0.4")
    (folder / "trimtab.yaml").write_text(text)
    workspace = open_small(folder)
    again = pipeline.evaluate(workspace, run)

    # then the report says so, and the bundle has both files
    (changed,) = [result for result in again.results if result.gate == "thresholds"]
    assert changed.verdict == "warn"
    assert "gates.accuracy.min from 0.5 to 0.4" in changed.reason
    assert again.thresholds != again.frozen == report.frozen
    bundle = workspace.artifacts.open(pipeline.register(workspace, run, again).path)
    cases = ElementTree.parse(bundle / "gates.junit.xml").findall(".//testcase")
    assert len(cases) == len(again.results)
    assert "| thresholds | changed keys | warn |" in (bundle / "gates.md").read_text()
    workspace.metadata.close()


def _with_region(path: Path) -> None:
    rows = pl.read_parquet(path)
    regions = pl.Series("region", ["a", "b"] * (len(rows) // 2))
    rows.with_columns(regions).write_parquet(path)


def _line(folder: Path, text: str) -> int:
    lines = (folder / "definitions.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)
