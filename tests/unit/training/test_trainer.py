"""Trainers are seeded, and their errors name the line."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from trimtab.app.project.definitions_file import load_definitions
from trimtab.definitions.models import Dataset, Model
from trimtab.errors import StageError, TrainerFailed
from trimtab.training.trainer import fit, seeded


@pytest.fixture
def data() -> Dataset:
    return Dataset(
        X=np.zeros((4, 1), dtype=np.float32),
        y=np.array([0.0, 1.0, 0.0, 1.0]),
        feature_names=("x",),
        timestamps=np.arange(4).astype("datetime64[us]"),
    )


class Drawn:
    """An estimator that remembers what it drew."""

    def __init__(self) -> None:
        self.drawn = (random.random(), float(np.random.random()))

    def predict(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.full(len(X), self.drawn[0])


def test_the_same_seed_draws_the_same_and_leaves_no_trace(model: Model, data: Dataset) -> None:
    model.fit = lambda data, params, seed: Drawn()
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # the legacy state is a tuple
    first, second, other = fit(model, data, {}, 7), fit(model, data, {}, 7), fit(model, data, {}, 8)
    assert first.drawn == second.drawn != other.drawn
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # type: ignore[index]


def test_an_error_names_the_trainers_own_line(model: Model, data: Dataset) -> None:
    def train(data: Dataset, params: dict[str, Any], seed: int) -> Any:
        return np.linalg.inv(np.zeros((2, 2)))  # fails inside numpy

    model.fit = train
    line = train.__code__.co_firstlineno + 1
    with pytest.raises(StageError, match=rf"test_trainer.py:{line}: .* 'delay' failed: LinAlgError: Sing"):
        fit(model, data, {}, 0)


def test_an_error_names_features_without_any_value(model: Model, data: Dataset) -> None:
    def train(data: Dataset, params: dict[str, Any], seed: int) -> Any:
        raise ValueError("a text of the library")

    model.fit = train
    matrix = np.array(data.X)
    matrix[:, 0] = np.nan
    null = rf"failed: null in all .* refuse: '{data.feature_names[0]}'\. The trainer said: ValueError: a text"
    with pytest.raises(StageError, match=null):
        fit(model, replace(data, X=matrix), {}, 0)
    with pytest.raises(StageError, match=r"failed: ValueError: a text of the library$"):
        fit(model, data, {}, 0)


def test_a_trainer_that_returns_a_class_is_told_so(model: Model, data: Dataset) -> None:
    model.fit = lambda data, params, seed: LogisticRegression
    with pytest.raises(StageError, match=r"returned the class LogisticRegression; expected a fitted estimator"):
        fit(model, data, {}, 0)


def test_a_trainer_that_returns_nothing_is_told_so(model: Model, data: Dataset) -> None:
    model.fit = lambda data, params, seed: None
    with pytest.raises(StageError, match=r"returned NoneType.*is 'return' missing"):
        fit(model, data, {}, 0)


def test_a_model_without_trainer_is_told_how_to_get_one(model: Model, data: Dataset) -> None:
    model.fit = None
    with pytest.raises(StageError, match=r"@delay\.trainer"):
        fit(model, data, {}, 0)


def test_a_trainer_cannot_change_the_params_of_the_record(model: Model, data: Dataset) -> None:
    def train(data: Dataset, params: dict[str, Any], seed: int) -> Any:
        params["layers"].append(1)
        return Drawn()

    model.fit = train
    params: dict[str, Any] = {"layers": []}
    fit(model, data, params, 0)
    assert params == {"layers": []}


def test_large_seeds_are_fine() -> None:
    with seeded(2**40):
        assert 0 <= random.random() < 1


def test_parameters_that_a_trainer_declares_come_by_name(model: Model, data: Dataset) -> None:
    seen: list[Any] = []

    def train(data: Dataset, params: dict[str, Any], seed: int, *, depth: int = 3, rate: float) -> Any:
        seen.append((params, depth, rate))
        return Drawn()

    model.fit = train
    fit(model, data, {"rate": 0.1, "other": 1}, 0)
    assert seen == [({"rate": 0.1, "other": 1}, 3, 0.1)]
    with pytest.raises(StageError, match=r"test_trainer.py:\d+: the trainer of model 'delay' needs a parameter 'rate'"):
        fit(model, data, {"depth": 4}, 0)

    def takes_all(data: Dataset, params: dict[str, Any], seed: int, **more: Any) -> Any:
        seen.append(more)
        return Drawn()

    model.fit = takes_all
    fit(model, data, {"rate": 0.1}, 0)
    assert seen[-1] == {"rate": 0.1}


def test_a_parameter_that_the_library_refuses_has_a_line_and_the_nearest_name(tmp_path: Path, data: Dataset) -> None:
    (tmp_path / "trimtab.yaml").write_text("project: p\ntraining:\n  params:\n    max_itr: 5\n")
    (tmp_path / "definitions.py").write_text(
        "import trimtab as tt\n"
        "source = tt.FileSource('s', 's.csv', timestamp='at')\n"
        "m = tt.Model('m', task='binary', examples=source, label='y', features=['x'])\n"
        "@m.trainer\n"
        "def train(data, params, seed):\n"
        "    from sklearn.linear_model import LogisticRegression\n"
        "    return LogisticRegression(**params).fit(data.X, data.y)\n"
    )
    made = load_definitions(tmp_path).model("m")
    wanted = (
        r"trimtab\.yaml:4: training\.params\.max_itr: LogisticRegression takes no 'max_itr'\. Did you mean 'max_iter'\?"
    )
    with pytest.raises(TrainerFailed, match=wanted):
        fit(made, data, {"max_itr": 5}, 0)
