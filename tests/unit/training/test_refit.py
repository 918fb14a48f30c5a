"""The fit on all rows after the gates: reproducible, of the twin's recipe, and refused when it strays from the twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline

from trimtab.bundle.spec import read_spec
from trimtab.definitions.models import Dataset, Model
from trimtab.errors import StageError
from trimtab.runtimes.opening import open_scorer
from trimtab.training.dataset import Frozen
from trimtab.training.refit import Compared, compare, joined, refit
from trimtab.training.rounds import rounds_of, with_rounds
from trimtab.training.train import Workbench, train

PARAMS = {"max_iter": 10}


def both(model: Model, frozen: Frozen, bench: Workbench, **params: Any) -> tuple[Any, Any]:
    twin = train(
        model,
        frozen,
        bench=bench,
        params=params or PARAMS,
        seed=7,
        key="k",
        reference=lambda scored: {"reference/windows.json": b"the twin's"},
    )
    return twin, refit(model, frozen, twin, bench=bench, key="k/refit")


def test_the_refit_knows_the_newest_rows_and_keeps_the_twins_reference(
    model: Model, frozen: Frozen, bench: Workbench
) -> None:
    seen: list[int] = []
    fit = model.fit
    assert fit is not None

    def counting(data: Dataset, params: dict[str, Any], seed: int) -> Any:
        seen.append(len(data.y))
        return fit(data, params, seed)

    model.fit = counting
    twin, again = both(model, frozen, bench)
    labelled = len(frozen.train.y) + len(frozen.holdout.y)
    assert seen[-1] == labelled > len(frozen.train.y)
    assert (again.refit_of, again.dataset, again.metrics) == (twin.id, twin.dataset, twin.metrics)
    assert again.model_hash != twin.model_hash
    folder = bench.artifacts.open(again.staging)
    assert (folder / "reference" / "windows.json").read_bytes() == b"the twin's"
    spec = read_spec(folder)
    assert (spec.run, spec.features) == (again.id, frozen.version.features)
    scores = open_scorer(folder, spec).score(frozen.holdout.X)
    assert np.corrcoef(scores, frozen.holdout.y)[0, 1] > 0.5
    tags = bench.tracking.client.get_run(again.id).data.tags
    assert (tags["trimtab.refit_of"], tags["trimtab.judged_model_hash"]) == (twin.id, twin.model_hash)


def test_the_same_rows_code_and_seed_give_the_same_refit_and_a_key_is_fitted_once(
    model: Model, frozen: Frozen, bench: Workbench, new_bench: Callable[[str], Workbench]
) -> None:
    twin, here = both(model, frozen, bench)
    _, there = both(model, frozen, new_bench("elsewhere"))
    assert here.model_hash == there.model_hash
    assert refit(model, frozen, twin, bench=bench, key="k/refit") == here


def test_a_trainer_that_goes_wrong_on_all_rows_leaves_the_twin(model: Model, frozen: Frozen, bench: Workbench) -> None:
    fit, rows = model.fit, len(frozen.train.y)
    assert fit is not None

    def spoilt(data: Dataset, params: dict[str, Any], seed: int) -> Any:
        flipped = Dataset(X=data.X, y=1 - data.y, feature_names=data.feature_names, timestamps=data.timestamps)
        return fit(data if len(data.y) == rows else flipped, params, seed)

    model.fit = spoilt
    with pytest.raises(StageError, match="the fit on all rows is not used"):
        both(model, frozen, bench)


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, None),
        ({"finite": False}, "not finite"),
        ({"moved": 0.5}, None),
        ({"moved": 0.5001}, "0.50 standard deviations away"),
        ({"moved": 0.5001, "closer": True}, None),
        ({"loss": 1.02}, None),
        ({"loss": 1.0201}, "worse than the judged"),
    ],
)
def test_each_check_refuses_at_its_border(changed: dict[str, Any], refused: str | None) -> None:
    same = Compared(finite=True, moved=0.0, metric="log_loss", loss=1.0, twin_loss=1.0)
    found = replace(same, **changed).refused
    assert found is None if refused is None else refused in str(found)


class Fixed:
    """A scorer of one column."""

    def __init__(self, column: int) -> None:
        self.column = column

    def score(self, X: Any) -> Any:
        return X[:, self.column].astype(np.float64)


def test_the_distance_is_of_the_holdout_rows_alone() -> None:
    X = np.array([[0.5, 0.1], [0.5, 0.1], [0.2, 0.2], [0.4, 0.4]], np.float32)
    times = np.zeros(4, "datetime64[us]")
    rows = Dataset(X=X, y=np.array([0.0, 1, 0, 1]), feature_names=("a", "b"), timestamps=times)
    holdout = Dataset(X=X[2:], y=rows.y[2:], feature_names=("a", "b"), timestamps=times[2:])
    found = compare(Fixed(0), Fixed(1), rows, holdout, "binary")  # type: ignore[arg-type] # only score is used
    assert (found.moved, found.finite) == (0.0, True)
    assert found.loss < found.twin_loss


def test_all_labelled_rows_are_joined_in_order_of_time(frozen: Frozen) -> None:
    rows = joined(frozen)
    assert len(rows.y) == frozen.version.labelled
    assert (np.diff(rows.timestamps.astype(np.int64)) >= 0).all()


def test_rounds_are_known_of_an_estimator_that_stopped_early(frozen: Frozen) -> None:
    X, y = np.nan_to_num(frozen.train.X), frozen.train.y
    stopped = HistGradientBoostingClassifier(max_iter=300, early_stopping=True, random_state=0).fit(X, y)
    assert rounds_of(stopped) == stopped.n_iter_ < 300
    assert rounds_of(make_pipeline(stopped)) == stopped.n_iter_
    assert rounds_of(HistGradientBoostingClassifier(max_iter=5, early_stopping=False).fit(X, y)) is None
    few = GradientBoostingClassifier(n_estimators=200, n_iter_no_change=2, random_state=0).fit(X, y)
    assert rounds_of(few) == few.n_estimators_ < 200


def test_rounds_take_the_place_of_the_parameter_that_names_them() -> None:
    assert with_rounds({"max_iter": 300, "seed": 1}, 40) == {"max_iter": 40, "seed": 1}
    assert with_rounds({"depth": 3}, 40) == {"depth": 3}
    assert with_rounds({"max_iter": 300}, None) == {"max_iter": 300}


def test_the_refit_takes_as_many_rounds_as_the_judged_model(model: Model, frozen: Frozen, bench: Workbench) -> None:
    seen: list[dict[str, Any]] = []
    fit = model.fit
    assert fit is not None

    def noting(data: Dataset, params: dict[str, Any], seed: int) -> Any:
        seen.append(dict(params))
        return fit(data, params, seed)

    twin = train(model, frozen, bench=bench, params=PARAMS, seed=7, key="k")
    model.fit = noting
    again = refit(model, frozen, structs.replace(twin, rounds=9), bench=bench, key="k/refit")
    assert (seen, again.rounds) == ([{"max_iter": 9}], 9)
