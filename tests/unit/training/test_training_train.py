"""One training, whole: reproducible, found again by key, with its errors on record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from trimtab.bundle.spec import read_spec
from trimtab.definitions.models import Dataset, Model
from trimtab.errors import StageError
from trimtab.runtimes.opening import open_scorer
from trimtab.training.dataset import Frozen
from trimtab.training.tracking import Tracking
from trimtab.training.train import Scored, Workbench, train

PARAMS = {"max_iter": 10}


def statuses(tracking: Tracking) -> list[str]:
    return [run.info.status for run in tracking.client.search_runs([tracking.experiment("delay")])]


def test_a_run_says_what_came_out_and_what_it_took(model: Model, frozen: Frozen, bench: Workbench) -> None:
    run = train(model, frozen, bench=bench, params=PARAMS, seed=7, key="k")
    assert run.metrics["roc_auc"] > 0.75, "the departure delay foretells the arrival"
    assert set(run.metrics) == {"roc_auc", "average_precision", "log_loss", "brier"}
    assert run.dataset == frozen.version.id
    assert run.experiment == "flights/delay"
    assert run.code_version == "unversioned"
    assert 0 < run.cpu_seconds < 60
    assert run.peak_memory_mb > 50
    assert 0 < run.cost < 0.01
    graph = (bench.artifacts.open(run.staging) / "model.onnx").read_bytes()
    assert run.model_hash == hashlib.sha256(graph).hexdigest()


def test_two_fresh_trackings_give_the_same_model(
    model: Model, frozen: Frozen, bench: Workbench, new_bench: Callable[[str], Workbench]
) -> None:
    # given a second project folder with a database and a store of its own
    elsewhere = new_bench("elsewhere")

    # when both train on the same dataset with the same code and seed
    here = train(model, frozen, bench=bench, params=PARAMS, seed=7, key="k")
    there = train(model, frozen, bench=elsewhere, params=PARAMS, seed=7, key="k")

    # then runs differ and the model does not
    assert here.id != there.id
    assert here.model_hash == there.model_hash
    assert here.metrics == there.metrics


def test_the_same_key_trains_once(model: Model, frozen: Frozen, bench: Workbench) -> None:
    calls: list[int] = []
    fit = model.fit
    assert fit is not None

    def counting(data: Dataset, params: dict[str, Any], seed: int) -> Any:
        calls.append(seed)
        return fit(data, params, seed)

    model.fit = counting
    first = train(model, frozen, bench=bench, params=PARAMS, seed=7, key="k")
    assert train(model, frozen, bench=bench, params=PARAMS, seed=7, key="k") == first
    other = train(model, frozen, bench=bench, params=PARAMS, seed=7, key="another")
    assert other.id != first.id
    assert other.model_hash == first.model_hash
    assert calls == [7, 7]


def test_what_a_dead_process_left_is_not_taken_for_a_run(model: Model, frozen: Frozen, bench: Workbench) -> None:
    bench.tracking.begin("delay", "k", name="left", tags={})
    run = train(model, frozen, bench=bench, params=PARAMS, seed=7, key="k")
    assert sorted(statuses(bench.tracking)) == ["FINISHED", "KILLED"]
    assert train(model, frozen, bench=bench, params=PARAMS, seed=7, key="k") == run


def test_a_trainer_that_fails_leaves_a_failed_run_and_may_be_tried_again(
    model: Model, frozen: Frozen, bench: Workbench
) -> None:
    working = model.fit

    def failing(data: Dataset, params: dict[str, Any], seed: int) -> Any:
        raise ValueError("no such column")

    model.fit = failing
    with pytest.raises(StageError, match=r"test_training_train.py:\d+: .* 'delay' failed: ValueError: no such"):
        train(model, frozen, bench=bench, params=PARAMS, seed=7, key="k")
    assert statuses(bench.tracking) == ["FAILED"]

    model.fit = working
    train(model, frozen, bench=bench, params=PARAMS, seed=7, key="k")
    assert sorted(statuses(bench.tracking)) == ["FAILED", "FINISHED"]


def test_the_reference_is_scored_by_models_that_did_not_see_it(model: Model, frozen: Frozen, bench: Workbench) -> None:
    # when the reference is asked for
    seen: list[Scored] = []

    def reference(scored: Scored) -> dict[str, bytes]:
        seen.append(scored)
        return {"reference/windows.json": b"{}"}

    run = train(model, frozen, bench=bench, params=PARAMS, seed=7, key="k", reference=reference)

    # then all rows are scored, unlabelled ones too, and the holdout by the graph that was packaged
    (scored,) = seen
    rows = scored.rows
    assert len(scored.scores) == frozen.version.rows
    assert np.isfinite(scored.scores).all()
    assert np.isnan(rows.y).sum() == frozen.version.rows - frozen.version.labelled
    folder = bench.artifacts.open(run.staging)
    graph = open_scorer(folder, read_spec(folder))
    assert (graph.score(rows.X[scored.split :]) == scored.scores[scored.split :]).all()
    assert (graph.score(rows.X[: scored.split]) != scored.scores[: scored.split]).mean() > 0.9
    split = np.datetime64(frozen.version.split_at.replace(tzinfo=None), "us")
    assert rows.timestamps[scored.split - 1] < split <= rows.timestamps[scored.split]


def test_a_regression_has_its_own_metrics(model: Model, frozen: Frozen, bench: Workbench) -> None:
    # given the same dataset read as numbers
    model.task = "regression"
    model.fit = lambda data, params, seed: make_pipeline(SimpleImputer(), Ridge()).fit(data.X, data.y)
    run = train(model, frozen, bench=bench, params={}, seed=7, key="r")
    assert set(run.metrics) == {"rmse", "mae", "r2"}
    assert run.metrics["r2"] > 0.1
