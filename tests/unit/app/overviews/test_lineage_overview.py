"""The way back from each kind of id, and what came of it."""

from __future__ import annotations

import pytest

from kit.decisions import decide
from kit.small_project import TwoRuns
from trimtab.app.overviews.lineage_overview import lineage_overview
from trimtab.app.project.workspace import Workspace
from trimtab.records.gate_reports import GateReport
from trimtab.testing.judged import window_report


def kinds(workspace: Workspace, id_: str) -> list[str]:
    return [step.kind for step in lineage_overview(workspace, id_).steps]


def test_each_kind_of_record_leads_back_to_its_sources(two_runs: TwoRuns) -> None:
    workspace, first, second = two_runs
    assert kinds(workspace, first.id) == ["run", "dataset", "table", "source"]
    assert kinds(workspace, first.dataset) == ["dataset", "table", "source"]
    assert kinds(workspace, "rows@0") == ["table", "source"]
    found = lineage_overview(workspace, f" {second.id[:12]} ")
    assert (found.id, found.kind) == (second.id, "run")
    assert found.sentence.startswith(f"Run {second.id[:12]}: trained and judged; code {second.code_version[:12]}")
    assert found.steps[-1].text == "FileSource: rows.parquet"
    assert found.steps[0].path == f"/experiments/{second.id}"


def test_what_came_of_a_record_follows(two_runs: TwoRuns) -> None:
    workspace, first, second = two_runs
    of_table = lineage_overview(workspace, "rows@0").followed
    assert {step.id for step in of_table} == {first.dataset, second.dataset}
    assert {step.id for step in lineage_overview(workspace, first.dataset).followed} >= {first.id}


def test_a_decision_names_its_window_even_of_a_model_that_was_not_trained_here(two_runs: TwoRuns) -> None:
    workspace = two_runs.workspace
    workspace.metadata.put(window_report(1))
    decision = decide(workspace)
    found = lineage_overview(workspace, decision.id)
    assert [step.kind for step in found.steps] == ["decision", "window"]
    assert found.steps[0].text == "review: severe x high; the matrix says retrain"
    assert found.steps[1].text == "2 Mar 2026 UTC: 1,000 rows of version 1; labels complete"
    assert [step.id for step in lineage_overview(workspace, window_report(1).id).followed] == [decision.id]


def test_gates_are_no_page_of_their_own(two_runs: TwoRuns) -> None:
    report = two_runs.workspace.metadata.find(GateReport, limit=1)[0]
    with pytest.raises(
        KeyError, match=f"no prediction '{report.id}' is in the log of project 'small'; the log is empty"
    ):
        lineage_overview(two_runs.workspace, report.id)
