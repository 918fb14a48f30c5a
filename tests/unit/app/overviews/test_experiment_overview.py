"""Runs as pages, one run, and what differs between several."""

from __future__ import annotations

import pytest

from kit.small_project import TwoRuns
from trimtab.app.overviews.experiment_overview import experiment_overview, run_detail, run_differences
from trimtab.errors import NotFound, UsageError


def test_pages_of_runs_are_the_newest_first_with_the_chosen_columns(two_runs: TwoRuns) -> None:
    workspace, first, second = two_runs
    page = experiment_overview(workspace, limit=1)
    assert [row.id for row in page.rows] == [second.id]
    assert page.next == second.id
    after = experiment_overview(workspace, limit=1, before=page.next)
    assert ([row.id for row in after.rows], after.next) == ([first.id], None)
    both = experiment_overview(workspace, metrics=["log_loss"])
    assert [row.metrics for row in both.rows] == [{"log_loss": run.metrics["log_loss"]} for run in (second, first)]
    assert both.params == ("max_iter",), "those that differ"
    assert [row.params for row in both.rows] == [{"max_iter": 30}, {"max_iter": 8}]
    assert (both.runs, both.found, both.registered) == (2, 2, 0)
    assert both.sentence == "2 runs, 0 registered; the last was not judged."


def test_an_unknown_column_or_page_is_told(two_runs: TwoRuns) -> None:
    with pytest.raises(UsageError, match=r"metric=log_los: .*Did you mean 'log_loss'"):
        experiment_overview(two_runs.workspace, metrics=["log_los"])
    with pytest.raises(NotFound, match="nothing"):
        experiment_overview(two_runs.workspace, before="nothing")


def test_one_run_has_its_gates_and_what_became_of_it(two_runs: TwoRuns) -> None:
    workspace, first, second = two_runs
    found = run_detail(workspace, first.id[:10])
    assert found.facts.run == first.id
    assert {result.gate for result in found.gates} >= {"accuracy", "leakage"}
    assert found.sentence == "The run passed its gates, with a warning; it was not registered."
    assert run_detail(workspace, second.id).gates == ()
    with pytest.raises(NotFound, match="no run 'nothing'"):
        run_detail(workspace, "nothing")


def test_only_what_differs_is_listed_by_group(two_runs: TwoRuns) -> None:
    workspace, first, second = two_runs
    found = run_differences(workspace, [first.id, second.id])
    groups = {group.name: group for group in found.groups}
    assert [(row.name, row.values) for row in groups["parameters"].rows] == [("max_iter", (8, 30))]
    assert groups["parameters"].same == len(first.params), "the seed, and all parameters but one"
    assert {row.name for row in groups["code"].rows} == {"revision", "files"}
    assert groups["tables"].rows == groups["features"].rows == groups["environment"].rows == ()
    assert found.sentence.startswith("2 runs of model risk differ in parameters, metrics")
    assert found.sentence.endswith("the same: training set, tables, features and environment.")


def test_wrong_choices_of_runs_are_told(two_runs: TwoRuns) -> None:
    workspace, first, _ = two_runs
    with pytest.raises(UsageError, match="1 run to compare; expected 2 to 10"):
        run_differences(workspace, [first.id])
    with pytest.raises(UsageError, match="the same run is named twice"):
        run_differences(workspace, [first.id, first.id])
