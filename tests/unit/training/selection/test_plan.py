"""A training with all that the policy can add: validation, folds, search, calibration, warm start; and its refit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightgbm import Booster, LGBMClassifier, early_stopping
from msgspec import structs
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trimtab.bundle.spec import read_spec
from trimtab.definitions.models import Dataset, Model
from trimtab.errors import StageError
from trimtab.policy.search import Search
from trimtab.runtimes.opening import open_scorer
from trimtab.stats.metrics import metric_value
from trimtab.training.dataset import Frozen
from trimtab.training.refit import joined, refit
from trimtab.training.selection.plan import Plan
from trimtab.training.selection.previous import open_previous
from trimtab.training.selection.validated_fit import Addition
from trimtab.training.train import Scored, Workbench, train

pytestmark = pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")


def without_trend(frozen: Frozen) -> Frozen:
    """Return the rows in random order, with the times as they are."""
    rows, size = joined(frozen), len(frozen.train.y)
    order = np.random.default_rng(0).permutation(len(rows.y))
    mixed = replace(rows, X=rows.X[order], y=rows.y[order])
    first, last = mixed.take(np.arange(size)), mixed.take(np.arange(size, len(order)))
    return replace(frozen, train=first, holdout=last)


class Boosted:
    """A trainer that stops early on the validation rows, and remembers what it got."""

    def __init__(self, *, takes_rounds: bool = True) -> None:
        self.seen: list[Dataset] = []
        self.takes_rounds = takes_rounds

    def __call__(self, data: Dataset, params: dict[str, Any], seed: int) -> Any:
        self.seen.append(data)
        made = LGBMClassifier(n_estimators=150, learning_rate=0.3, random_state=seed, n_jobs=1, verbose=-1, **params)
        if data.rounds is not None and self.takes_rounds:
            made.set_params(n_estimators=data.rounds)
        if data.validation is None:
            return made.fit(data.X, data.y, init_model=data.previous)
        late = (data.validation.X, data.validation.y)
        stop: Any = early_stopping(5, verbose=False)
        return made.fit(data.X, data.y, eval_set=[late], callbacks=[stop], init_model=data.previous)


def run(model: Model, known: Frozen, bench: Workbench, plan: Plan, key: str = "k", **more: Any) -> Any:
    return train(model, known, bench=bench, params={}, seed=7, key=key, plan=plan, **more)


def test_the_rounds_of_the_validation_rows_hold_for_the_reference_and_the_fit_on_all_rows(
    model: Model, known: Frozen, bench: Workbench
) -> None:
    model.fit = trainer = Boosted()
    scored: list[Scored] = []
    plan = Plan(addition=Addition(validation=0.2))
    record = run(model, known, bench, plan, reference=lambda rows: scored.append(rows) or {})  # type: ignore[func-returns-value]
    judged, *crossed = trainer.seen
    # the judged fit stops early, on rows that begin nine hours after the last label it knew
    assert judged.validation is not None
    assert judged.known_at is not None
    assert judged.known_at.max() <= judged.validation.timestamps[0]
    assert record.rounds is not None
    assert 0 < record.rounds < 150
    assert (record.validation_rows, record.left_out) == (len(judged.validation.y), record.left_out)
    assert record.left_out > 0
    assert len(judged.y) + record.left_out + record.validation_rows == len(known.train.y)
    # the fits for the reference take as many rounds, without validation rows
    assert [(data.validation, data.rounds) for data in crossed] == [(None, record.rounds)] * 4

    trainer.seen.clear()
    again = refit(model, known, record, bench=bench, key="k/refit")
    (everything,) = trainer.seen
    assert (everything.validation, everything.rounds) == (None, record.rounds)
    assert len(everything.y) == known.version.labelled
    assert (again.rounds, again.validation) == (record.rounds, 0.2)


def test_a_refit_that_cannot_keep_the_rounds_is_not_used(model: Model, known: Frozen, bench: Workbench) -> None:
    model.fit = Boosted(takes_rounds=False)
    record = run(model, known, bench, Plan(addition=Addition(validation=0.2)))
    with pytest.raises(StageError, match=rf"took 150 rounds, .* stopped early after {record.rounds}: .* data\.rounds"):
        refit(model, known, record, bench=bench, key="k/refit")


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration_holds_for_the_reference_and_the_refit_and_never_sees_the_holdout(
    model: Model, known: Frozen, bench: Workbench, method: Any
) -> None:
    # given rows without a trend, and a classifier whose probabilities are far too low
    known = without_trend(known)

    def fit(data: Dataset, params: dict[str, Any], seed: int) -> Any:
        made = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(data.X, data.y)
        made[-1].intercept_ -= 3
        return made

    model.fit = fit
    before: list[Scored] = []
    scored: list[Scored] = []
    uncalibrated = Plan(addition=Addition(validation=0.2))
    plain = run(model, known, bench, uncalibrated, key="plain", reference=lambda rows: before.append(rows) or {})  # type: ignore[func-returns-value]
    plan = Plan(addition=Addition(validation=0.2, calibrate=method))
    record = run(model, known, bench, plan, reference=lambda rows: scored.append(rows) or {})  # type: ignore[func-returns-value]
    assert record.calibrate == method
    assert record.metrics["log_loss"] < plain.metrics["log_loss"] - 0.05
    # the scores of the reference are calibrated, too
    assert np.median(scored[0].scores[: scored[0].split]) > 2 * np.median(before[0].scores[: before[0].split])
    again = refit(model, known, record, bench=bench, key="k/refit")
    folder = bench.artifacts.open(again.staging)
    scores = open_scorer(folder, read_spec(folder)).score(known.holdout.X)
    assert metric_value("log_loss", known.holdout.y, scores) == pytest.approx(record.metrics["log_loss"], abs=0.05)

    # when the labels of the holdout are others, the calibrated model is the same
    other = replace(known, holdout=replace(known.holdout, y=1 - known.holdout.y))
    assert run(model, other, bench, plan, key="other").model_hash == record.model_hash


def test_folds_and_baselines_are_on_record_and_in_mlflow(model: Model, known: Frozen, bench: Workbench) -> None:
    model.fit = Boosted()
    record = run(model, known, bench, Plan(addition=Addition(validation=0.2), folds=3))
    assert [fold.rows for fold in record.folds] == pytest.approx([len(known.train.y) / 4] * 3, abs=3)
    assert record.folds[0].train_rows < record.folds[1].train_rows < record.folds[2].train_rows
    assert all(fold.left_out > 0 and 0.5 < fold.metrics["roc_auc"] < 1 for fold in record.folds)
    shown = bench.tracking.client.get_run(record.id).data.metrics
    areas = [fold.metrics["roc_auc"] for fold in record.folds]
    assert shown["cv.roc_auc.mean"] == pytest.approx(np.mean(areas))
    assert shown["cv.roc_auc.sd"] == pytest.approx(np.std(areas, ddof=1))
    (loss, area) = record.baselines
    assert (loss.name, loss.metric, area.metric) == ("prior", "log_loss", "roc_auc")
    assert shown["gain_over.prior.roc_auc"] == pytest.approx(record.metrics["roc_auc"] - 0.5)
    assert shown["gain_over.prior.log_loss.low"] == loss.low


def test_the_best_parameters_of_a_search_train_the_model(
    model: Model, known: Frozen, bench: Workbench, tmp_path: Path
) -> None:
    model.fit = trainer = Boosted()
    search = Search.model_validate({"space": {"num_leaves": {"low": 2, "high": 20}}, "trials": 3, "folds": 2})
    plan = Plan(addition=Addition(validation=0.2), search=search, studies=tmp_path / "search")
    record = run(model, known, bench, plan)
    assert record.search is not None
    assert record.params == record.search.params == {"num_leaves": record.params["num_leaves"]}
    assert trainer.seen[-1].validation is not None
    latest = max(data.validation.timestamps.max() for data in trainer.seen if data.validation is not None)
    assert latest < known.holdout.timestamps[0], "no trial sees the holdout"
    trials = bench.tracking.children("delay", record.search.key)
    assert len(trials) == 3
    assert {trial.data.tags["mlflow.parentRunId"] for trial in trials.values()} == {record.id}
    # a second run of the same search fits only the last model, and leaves the trials where they are
    trainer.seen.clear()
    again = run(model, known, bench, plan, key="second")
    assert len(trainer.seen) == 1
    assert again.search == record.search
    assert again.cpu_seconds < record.cpu_seconds
    trials = bench.tracking.children("delay", record.search.key)
    assert {trial.data.tags["mlflow.parentRunId"] for trial in trials.values()} == {record.id}


def test_a_warm_start_goes_on_from_the_estimator_of_a_bundle(model: Model, known: Frozen, bench: Workbench) -> None:
    model.fit = trainer = Boosted()
    first = run(model, known, bench, Plan(addition=Addition(validation=0.2)), key="first")
    folder = bench.artifacts.open(first.staging)
    previous, why = open_previous(folder, first.id, dataset=known.version)
    assert (previous is not None, why) == (True, "")
    trainer.seen.clear()
    plan = Plan(addition=Addition(validation=0.2), previous=previous, folds=2)
    second = run(model, known, bench, plan, key="second", reference=lambda rows: {})
    assert second.previous == first.id
    # folds and the reference would leak what the earlier model has seen
    assert [data.previous is not None for data in trainer.seen] == [False, False, True, False, False, False, False]
    assert second.rounds is not None
    trainer.seen.clear()
    assert previous is not None
    again = refit(model, known, second, bench=bench, key="r", previous=previous.estimator)
    assert trainer.seen[0].previous is previous.estimator
    assert again.previous == first.id
    # of a calibrated model, it is the estimator itself
    calibrated = Addition(validation=0.2, calibrate="sigmoid")
    third = run(model, known, bench, Plan(addition=calibrated), key="third")
    inner, _ = open_previous(bench.artifacts.open(third.staging), third.id, dataset=known.version)
    assert inner is not None
    assert isinstance(inner.estimator, Booster)
    # not from a fit whose numbers stand for other things
    for field, value, what in [
        ("features", ("hour",), "features"),
        ("classes", ("late", "on time"), "classes"),
        ("feature_types", {"hour": "category"}, "types of the features"),
        ("feature_categories", {"hour": ("1", "2")}, "categories of the features"),
        ("input", "frame", "input of the trainer"),
        ("unseen", "missing", "treatment of unseen categories"),
    ]:
        other = structs.replace(known.version, **{field: value})
        assert open_previous(folder, first.id, dataset=other) == (None, f"the {what} changed after run {first.id[:8]}")
