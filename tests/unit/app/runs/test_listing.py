"""Runs as a list: MLflow's filters, numbers compared as numbers, the best first."""

from __future__ import annotations

import json

import pytest

from kit.commands import typed
from kit.small_project import TwoRuns
from trimtab.app.runs.listing import list_runs
from trimtab.errors import UsageError


def test_the_newest_run_comes_first_with_what_became_of_it(two_runs: TwoRuns) -> None:
    rows = list_runs(two_runs.workspace)
    assert [row.id for row in rows] == [two_runs.second.id, two_runs.first.id]
    assert [row.verdict for row in rows] == [None, "warn"]
    assert rows[1].metrics == two_runs.first.metrics
    assert list_runs(two_runs.workspace, limit=1) == rows[:1]


def test_runs_are_sorted_by_the_better_direction_of_a_metric(two_runs: TwoRuns) -> None:
    for name, best in (("roc_auc", max), ("metrics.log_loss", min), ("cost", min)):
        values = [
            row.cost if name == "cost" else row.metrics[name.removeprefix("metrics.")]
            for row in list_runs(two_runs.workspace, sort=name)
        ]
        assert values[0] == best(values), name
    with pytest.raises(UsageError, match=r"^sort roc: no run has it\. Did you mean 'roc_auc'\?"):
        list_runs(two_runs.workspace, sort="roc")


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("params.max_iter = 8", "first"),
        ("params.max_iter = 8.0", "first"),
        ("params.max_iter > 9 and metrics.roc_auc > .1", "second"),
        ("params.`max_iter` != 8", "second"),
        ("params.max_iter = '30'", "second"),
        ("params.max_iter LIKE '3%'", "second"),
        ("tags.`trimtab.verdict` = 'warn'", "first"),
        ("tags.`trimtab.verdict` = 'warn and fail'", ""),
        ("metrics.roc_auc > 0 AND attributes.status = 'FINISHED'", "first second"),
        ("metrics.train_rows > 1e6", ""),
        ("params.seed >= 4", ""),
    ],
)
def test_a_filter_is_mlflows_and_compares_numbers_as_numbers(two_runs: TwoRuns, where: str, found: str) -> None:
    if found == "" and "train_rows" in where:
        with pytest.raises(UsageError, match="no run has the metric 'train_rows'"):
            list_runs(two_runs.workspace, where=where)
        return
    names = {two_runs.first.id: "first", two_runs.second.id: "second"}
    assert {names[row.id] for row in list_runs(two_runs.workspace, where=where)} == set(found.split())


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("params.max_itr > 3", r"no run has the parameter 'max_itr'\. Did you mean 'max_iter'\?"),
        ("metrics.auc > .5", r"no run has the metric 'auc'\."),
        ("metrics.roc_auc > .5 or params.max_iter = 3", r"Invalid clause.*'or'.*Expected comparisons joined by 'and'"),
        ("roc_auc > .5", r"Invalid attribute key 'roc_auc'"),
        ("metrics.roc_auc > 'x'", r"--where: "),
    ],
)
def test_a_wrong_filter_says_what_is_wrong(two_runs: TwoRuns, where: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        list_runs(two_runs.workspace, where=where)


def test_the_verb_shows_lists_and_one_run(two_runs: TwoRuns) -> None:
    options = ("--project", two_runs.workspace.project.folder)
    shown = typed("runs", "--sort", "roc_auc", *options).stdout
    assert two_runs.first.id[:8] in shown
    assert "warn" in shown
    listed = json.loads(typed("runs", "list", "--where", "params.max_iter < 10", "--json", *options).stdout)
    assert [row["id"] for row in listed] == [two_runs.first.id]
    one = typed("runs", "show", two_runs.first.id[:6], *options).stdout
    assert "max_iter 8" in one
    assert "plots/roc.svg" in one
    assert "gates         accuracy" in one
    assert json.loads(typed("runs", "show", two_runs.second.id, "--json", *options).stdout)["verdict"] is None
    for wrong, words in (
        (("list", "x"), "takes no run; trimtab runs show x"),
        (("diff", "x"), "trimtab runs diff A B"),
        (("show",), "trimtab runs show RUN"),
        (("lst",), "Did you mean 'list'"),
        (("show", "x", "--sort", "cost"), "belong to trimtab runs list"),
    ):
        done = typed("runs", *wrong, *options, check=False)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
