"""Rounds of estimators that stopped early, counted as each library counts them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trimtab.training.rounds import more_rounds, rounds_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 4))
Y = (X[:, 0] + RNG.normal(size=600) > 0).astype(int)
TRAIN, LATE = (X[:400], Y[:400]), (X[400:], Y[400:])


def lightgbm(rounds: int, *, stops: bool, start: Any = None) -> Any:
    import lightgbm as library

    stop = [library.early_stopping(3, verbose=False)] if stops else []
    made: Any = library.LGBMClassifier(n_estimators=rounds, learning_rate=0.3, n_jobs=1, verbose=-1)
    late = {"eval_set": [LATE]} if stops else {}
    return made.fit(*TRAIN, **late, callbacks=stop, init_model=start and start.booster_)


def xgboost(rounds: int, *, stops: bool, start: Any = None) -> Any:
    import xgboost as library

    made: Any = library.XGBClassifier(n_estimators=rounds, n_jobs=1, early_stopping_rounds=3 if stops else None)
    late = {"eval_set": [LATE]} if stops else {}
    return made.fit(*TRAIN, **late, verbose=False, xgb_model=start and start.get_booster())


@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")
@pytest.mark.parametrize("library", [lightgbm, xgboost])
def test_so_many_rounds_give_the_same_scores(library: Any) -> None:
    stopped = library(200, stops=True)
    rounds = rounds_of(stopped)
    assert rounds is not None
    assert 0 < rounds < 100
    same = library(rounds, stops=False)
    assert same.predict_proba(X) == pytest.approx(stopped.predict_proba(X))
    assert rounds_of(same) is None
    assert more_rounds(same, rounds) is None
    assert more_rounds(library(rounds + 2, stops=False), rounds) == rounds + 2


@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")
@pytest.mark.parametrize("library", [lightgbm, xgboost])
def test_rounds_of_the_estimator_that_it_started_from_do_not_count(library: Any) -> None:
    start = library(4, stops=False)
    previous = start.booster_ if library is lightgbm else start.get_booster()
    stopped = library(200, stops=True, start=start)
    rounds = rounds_of(stopped, previous)
    assert rounds is not None
    again = library(rounds, stops=False, start=start)
    assert again.predict_proba(X) == pytest.approx(stopped.predict_proba(X))
    assert more_rounds(again, rounds, previous) is None
    assert more_rounds(again, rounds - 1, previous) == rounds + 4


def test_catboost_keeps_the_trees_up_to_its_best_round() -> None:
    import catboost

    made: Any = catboost.CatBoostClassifier(
        iterations=200,
        learning_rate=0.3,
        early_stopping_rounds=3,
        thread_count=1,
        verbose=False,
        allow_writing_files=False,
    ).fit(*TRAIN, eval_set=LATE)
    assert rounds_of(made) == made.tree_count_ < 100
    assert more_rounds(made, 1) == made.tree_count_
