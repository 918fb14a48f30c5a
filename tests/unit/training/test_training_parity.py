"""Graph and estimator must agree on real rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from trimtab.definitions.models import Dataset
from trimtab.errors import StageError
from trimtab.runtimes.onnx import OnnxScorer
from trimtab.training.convert import convert
from trimtab.training.dataset import Frozen
from trimtab.training.parity import check_parity, compare, pick


def graph_of(estimator: Any) -> OnnxScorer:
    return OnnxScorer(convert(estimator, task="binary", features=5), "binary")


@pytest.fixture
def train(frozen: Frozen) -> Dataset:
    return frozen.train


def test_boosted_trees_agree_on_flights_with_gaps(train: Dataset) -> None:
    estimator = HistGradientBoostingClassifier(max_iter=20).fit(train.X, train.y)
    parity = check_parity(estimator, graph_of(estimator), pick(train.X), "binary")
    assert parity.ok
    assert parity.rows == 2000
    assert parity.max_difference < 1e-6


def test_another_estimators_graph_is_refused(train: Dataset) -> None:
    # given the graph of another forest
    X = np.nan_to_num(train.X)
    forest, other = (RandomForestClassifier(n_estimators=10, random_state=seed).fit(X, train.y) for seed in (0, 1))

    # then the difference is found, with its size
    with pytest.raises(StageError, match=r"RandomForestClassifier does not reproduce it: \d+\.\d+% of 2000 real rows"):
        check_parity(forest, graph_of(other), X, "binary")


def test_a_forest_that_learned_from_gaps_agrees(train: Dataset) -> None:
    X = np.where(np.random.default_rng(0).random(train.X.shape) < 0.3, np.float32(np.nan), train.X)
    estimator = RandomForestClassifier(n_estimators=10, random_state=0).fit(X, train.y)
    assert check_parity(estimator, graph_of(estimator), X, "binary").max_difference < 1e-6


def test_another_models_graph_is_refused(train: Dataset) -> None:
    small = HistGradientBoostingClassifier(max_iter=5).fit(train.X, train.y)
    large = HistGradientBoostingClassifier(max_iter=20).fit(train.X, train.y)
    parity = compare(large, graph_of(small), train.X, "binary")
    assert not parity.ok
    assert parity.max_difference > 0.05


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 40))
def test_picked_rows_are_real_and_cover_gaps(holey: int, whole: int, wanted: int) -> None:
    # given rows with and without missing values
    X = np.arange(holey + whole, dtype=np.float32)[:, None].repeat(2, axis=1)
    X[:holey, 1] = np.nan
    found = pick(X, wanted)

    # then as many as asked for come back, once each, gaps among them
    assert len(found) == min(wanted, holey + whole)
    assert len(np.unique(found[:, 0])) == len(found)
    gaps = int(np.isnan(found).any(axis=1).sum())
    assert gaps >= min(holey, wanted // 2)
