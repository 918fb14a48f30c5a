"""Two runs compared: on the same rows with intervals, and by all that went into them."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from kit.commands import typed
from kit.small_project import TwoRuns
from trimtab.app.runs.run_diff import Pair, diff_runs
from trimtab.errors import UsageError
from trimtab.records.training import DatasetVersion
from trimtab.stats.metrics import metric_value
from trimtab.training.dataset import load


def test_both_models_are_measured_on_the_rows_that_neither_was_fitted_on(two_runs: TwoRuns) -> None:
    workspace, first, second = two_runs
    found = diff_runs(workspace, first, second)
    assert found.same_rows is not None
    holdout = load(workspace.metadata.get(DatasetVersion, first.dataset), workspace.artifacts).holdout
    assert found.same_rows.rows == len(holdout.y)
    assert found.same_rows.metrics.keys() == first.metrics.keys()
    for name, measured in found.same_rows.metrics.items():
        assert measured.a == pytest.approx(first.metrics[name]), "the holdout is that of the run"
        assert measured.b == pytest.approx(second.metrics[name])
        sign = -1 if name in ("log_loss", "brier") else 1
        assert measured.gain == pytest.approx(sign * (measured.b - measured.a))
        assert measured.interval_gain is not None
        low, high = measured.interval_gain
        assert low <= measured.gain <= high
        assert measured.better == ("b" if low > 0 else "a" if high < 0 else "")
    assert not found.same_model
    assert found.same_rows.largest_difference > 0
    assert np.isfinite(metric_value("roc_auc", holdout.y, np.linspace(0, 1, len(holdout.y))))


def test_only_what_differs_is_named(two_runs: TwoRuns) -> None:
    workspace, first, second = two_runs
    found = diff_runs(workspace, first, second)
    assert found.params == {"max_iter": Pair(a=8, b=30)}
    assert (found.dataset, found.tables, found.features, found.environment) == ({}, {}, {}, {})
    assert "+    return HistGradientBoostingClassifier(l2_regularization=1.0" in found.code
    assert "max_iter: 30" in found.code
    assert "rows.parquet" not in found.code
    same = diff_runs(workspace, first, first)
    assert (same.params, same.metrics, same.code, same.same_model) == ({}, {}, "", True)
    assert same.same_rows is not None
    assert {measured.better for measured in same.same_rows.metrics.values()} == {""}


def test_uncommitted_code_is_compared_by_the_files_that_were_kept(two_runs: TwoRuns) -> None:
    workspace, first, second = two_runs
    dirty = msgspec.structs.replace(second, code_version=f"{second.code_version}+dirty")
    found = diff_runs(workspace, first, dirty)
    assert "--- a/shapes.py\n+++ b/shapes.py\n" in found.code
    assert "--- a/trimtab.yaml\n+++ b/trimtab.yaml\n" in found.code


def test_runs_of_two_models_are_not_compared(two_runs: TwoRuns) -> None:
    other = msgspec.structs.replace(two_runs.second, model="other")
    with pytest.raises(UsageError, match=r"is of model 'risk', run .* of 'other'; expected one model"):
        diff_runs(two_runs.workspace, two_runs.first, other)


def test_the_verb_prints_tables_and_json(two_runs: TwoRuns) -> None:
    command = ("runs", "diff", two_runs.first.id[:6], two_runs.second.id[:6])
    options = ("--project", two_runs.workspace.project.folder)
    shown = typed(*command, *options).stdout
    for words in ("On the same", "roc_auc", "max_iter", "training set: the same", "l2_regularization=1.0"):
        assert words in shown
    assert json.loads(typed(*command, "--json", *options).stdout)["params"] == {"max_iter": {"a": 8, "b": 30}}
