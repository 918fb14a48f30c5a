"""A search by trials: the same with and without kills, exactly as many trials as asked for, and its limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import journal
from sklearn.linear_model import Ridge

from trimtab.definitions.models import Dataset, Model
from trimtab.definitions.sources import FileSource
from trimtab.errors import MissingExtra, StageError
from trimtab.policy.model import Prices
from trimtab.policy.search import Search
from trimtab.training.selection import trials
from trimtab.training.selection.time_splits import expanding_folds
from trimtab.training.selection.trials import Objective, Trial, search
from trimtab.training.selection.validated_fit import Addition

SPACE: dict[str, Any] = {
    "alpha": {"low": 1e-3, "high": 1e3, "log": True},
    "degree": {"low": 1, "high": 3},
    "intercept": [True, False],
}


class Killed(BaseException):
    """The process dies: nothing of the library catches it."""


def data() -> Dataset:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(240, 2)).astype(np.float32)
    times = np.arange("2026-01-01", "2026-01-11", dtype="datetime64[h]").astype("datetime64[us]")
    y = X[:, 0] ** 2 - X[:, 1] + 1 + rng.normal(size=240)
    return Dataset(X=X, y=y, feature_names=("a", "b"), timestamps=times, known_at=times)


def objective(fits: Callable[[dict[str, Any]], None] = lambda params: None, folds: int = 3) -> Objective:
    model = Model(
        "m", task="regression", examples=FileSource("s", "s.csv", timestamp="at"), label="y", features=["a", "b"]
    )

    @model.trainer
    def train(data: Dataset, params: dict[str, Any], seed: int) -> Any:
        fits(params)
        return Powers(params["degree"], Ridge(params["alpha"], fit_intercept=params["intercept"])).fit(data.X, data.y)

    parts = expanding_folds(data(), folds, model="m", task="regression", key="training.search.folds")
    return Objective(model=model, folds=parts, params={}, seed=0, addition=Addition(), threshold=0.5)


class Powers:
    def __init__(self, degree: int, estimator: Ridge) -> None:
        self.degree, self.estimator = degree, estimator

    def fit(self, X: Any, y: Any) -> Powers:
        self.estimator.fit(self._powers(X), y)
        return self

    def predict(self, X: Any) -> Any:
        return self.estimator.predict(self._powers(X))

    def _powers(self, X: Any) -> Any:
        return np.hstack([X**n for n in range(1, self.degree + 1)])


def run(file: Path, policy: Search, of: Objective, seen: list[tuple[Trial, bool]] | None = None) -> Any:
    def watch(trial: Trial, again: bool) -> None:
        if seen is not None:
            seen.append((trial, again))

    return search(policy, of, key="k", metric="rmse", file=file, prices=Prices(), watch=watch)


def values(seen: Sequence[tuple[Trial, bool]]) -> list[Any]:
    return [(trial.number, trial.state, dict(trial.params), trial.values) for trial, _ in seen]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_that_is_killed_twice_ends_as_one_that_ran_through(tmp_path: Path, sampler: str) -> None:
    # given a search that ran through
    policy = Search.model_validate({"space": SPACE, "trials": 16, "sampler": sampler})
    whole: list[tuple[Trial, bool]] = []
    expected = run(tmp_path / "whole.journal", policy, objective(), whole)

    # when another one dies in the midst of two trials, the second time in a trial that TPE chooses
    for after in (7, 24):
        count = 0

        def dies(params: dict[str, Any], after: int = after) -> None:
            nonlocal count
            count += 1
            if count == after:
                raise Killed

        with pytest.raises(Killed):
            run(tmp_path / "killed.journal", policy, objective(dies))
    again: list[tuple[Trial, bool]] = []
    found = run(tmp_path / "killed.journal", policy, objective(), again)

    # then it finishes the rest, with the same trials and the same best
    assert values(again) == values(whole)
    assert [flag for _, flag in again].count(True) >= 8
    assert found.trials == 16
    assert (found.params, found.value, found.best) == (expected.params, expected.value, expected.best)
    states = [trial.state.name for trial in _study(tmp_path / "killed.journal").trials]
    assert states.count("RUNNING") == 0
    assert states.count("COMPLETE") + states.count("PRUNED") == 16
    assert states.count("FAIL") == 2, "the two trials that were under way"


def test_the_best_is_the_lowest_mean_over_the_folds(tmp_path: Path) -> None:
    seen: list[tuple[Trial, bool]] = []
    found = run(
        tmp_path / "s.journal",
        Search.model_validate({"space": SPACE, "trials": 12, "pruner": "none"}),
        objective(),
        seen,
    )
    assert [len(trial.values) for trial, _ in seen] == [3] * 12
    assert found.value == min(trial.values[-1] for trial, _ in seen)
    assert found.params["degree"] >= 2, "the label is a square"
    assert isinstance(found.params["degree"], int)


def test_a_finished_search_fits_nothing_and_a_longer_one_only_the_rest(tmp_path: Path) -> None:
    fitted: list[Any] = []
    short = Search.model_validate({"space": SPACE, "trials": 4})
    first = run(tmp_path / "s.journal", short, objective())
    assert run(tmp_path / "s.journal", short, objective(fitted.append)) == first
    assert fitted == []
    longer = run(
        tmp_path / "s.journal",
        Search.model_validate({"space": SPACE, "trials": 6, "pruner": "none"}),
        objective(fitted.append),
    )
    assert (longer.trials, len(fitted)) == (6, 2 * 3)
    assert run(tmp_path / "s.journal", short, objective()) == first, "of the first four alone"


def test_a_poor_trial_is_pruned_after_a_fold(tmp_path: Path) -> None:
    seen: list[tuple[Trial, bool]] = []
    policy = Search.model_validate({"space": {**SPACE, "alpha": {"low": 1e-3, "high": 1e6, "log": True}}, "trials": 20})
    found = run(tmp_path / "s.journal", policy, objective(), seen)
    pruned = [trial for trial, _ in seen if trial.state == "pruned"]
    assert found.pruned == len(pruned) > 0
    assert all(len(trial.values) < 3 for trial in pruned)
    assert found.best not in [trial.number for trial in pruned]


def test_a_trial_that_fails_counts_and_says_why(tmp_path: Path) -> None:
    def fails(params: dict[str, Any]) -> None:
        if params["degree"] == 2:
            raise ValueError("no squares here")

    seen: list[tuple[Trial, bool]] = []
    found = run(tmp_path / "s.journal", Search.model_validate({"space": SPACE, "trials": 10}), objective(fails), seen)
    failed = [trial for trial, _ in seen if trial.state == "failed"]
    assert found.trials == 10
    assert found.failed == len(failed) > 0
    assert all("no squares here" in trial.error for trial in failed)
    assert found.params["degree"] != 2


def test_a_trainer_that_never_works_ends_the_search(tmp_path: Path) -> None:
    fitted: list[Any] = []

    def fails(params: dict[str, Any]) -> None:
        fitted.append(params)
        raise ValueError("broken")

    with pytest.raises(StageError, match=r"training\.search scored no trial of 3: .*broken"):
        run(tmp_path / "s.journal", Search.model_validate({"space": SPACE, "trials": 20}), objective(fails))
    assert len(fitted) == 3


@pytest.mark.parametrize("limit", [{"timeout": "1ms"}, {"budget": {"cpu": "1ms"}}, {"budget": {"cost": 1e-12}}])
def test_a_limit_ends_the_search_and_is_named(tmp_path: Path, limit: dict[str, Any]) -> None:
    found = run(tmp_path / "s.journal", Search.model_validate({"space": SPACE, "trials": 9, **limit}), objective())
    assert 1 <= found.trials < 9
    assert found.ended.startswith(f"training.search.{next(iter(limit))}")


def test_half_a_line_that_a_dead_process_left_is_dropped(tmp_path: Path) -> None:
    policy = Search.model_validate({"space": SPACE, "trials": 3})
    first = run(tmp_path / "s.journal", policy, objective())
    with (tmp_path / "s.journal").open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    assert run(tmp_path / "s.journal", policy, objective()) == first
    assert run(tmp_path / "s.journal", Search.model_validate({"space": SPACE, "trials": 4}), objective()).trials == 4


def test_the_seed_decides(tmp_path: Path) -> None:
    policy = Search.model_validate({"space": SPACE, "trials": 3})
    first, second, other = ([], [], [])  # type: ignore[var-annotated]  # filled by run
    run(tmp_path / "1.journal", policy, objective(), first)
    run(tmp_path / "2.journal", policy, objective(), second)
    run(tmp_path / "3.journal", policy, replace(objective(), seed=5), other)
    assert values(first) == values(second) != values(other)


def test_without_optuna_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "find_spec", lambda name: None)
    with pytest.raises(
        MissingExtra, match=r"optuna is not installed\. Install it with: pip install 'trimtab\[search\]'"
    ):
        run(tmp_path / "s.journal", Search.model_validate({"space": SPACE}), objective())


def _study(file: Path) -> optuna.Study:
    return optuna.load_study(study_name="k", storage=journal.JournalStorage(journal.JournalFileBackend(str(file))))
