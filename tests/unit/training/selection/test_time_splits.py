"""Splits by time: what is before, what is after, and the rows between whose labels were not known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.definitions.models import Dataset
from trimtab.errors import StageError
from trimtab.training.selection.time_splits import expanding_folds, validated

HOUR = np.timedelta64(1, "h")


def hours(count: int, delay: int = 0) -> Dataset:
    times = np.datetime64("2026-01-01T00:00", "us") + np.arange(count) * HOUR
    y = (np.arange(count) % 2).astype(np.float64)
    X = np.arange(count, dtype=np.float32).reshape(-1, 1)
    return Dataset(X=X, y=y, feature_names=("row",), timestamps=times, known_at=times + delay * HOUR)


def test_validation_rows_are_the_latest_share_and_a_gap_is_before_them() -> None:
    train, left_out = validated(hours(101, delay=5), 0.2, model="m", task="binary")
    assert train.validation is not None
    assert train.validation.X.ravel().tolist() == list(range(80, 101))
    # the label of row 75 became known at the split, that of row 76 an hour later
    assert train.X.ravel().tolist() == list(range(76))
    assert left_out == 4
    assert validated(hours(10), None, model="m", task="binary")[0].validation is None


@given(
    count=st.integers(40, 120),
    delays=st.lists(st.integers(0, 12), min_size=120, max_size=120),
    folds=st.integers(1, 5),
    ties=st.integers(1, 4),
)
def test_no_fold_is_trained_on_what_was_not_known_when_it_begins(
    count: int, delays: list[int], folds: int, ties: int
) -> None:
    data = hours(count)
    times = data.timestamps[0] + (np.arange(count) // ties) * HOUR
    known_at = times + np.array(delays[:count]) * HOUR
    data = replace(data, timestamps=times, known_at=known_at, y=np.arange(count) % 3.0)
    try:
        parts = expanding_folds(data, folds, model="m", task="regression", key="training.folds")
    except StageError:
        return  # too many folds for the rows that were known
    tested: list[float] = []
    for part in parts:
        assert part.train.known_at is not None
        assert (part.train.known_at <= part.at).all()
        assert (part.train.timestamps < part.at).all()
        assert (part.test.timestamps >= part.at).all()
        before = int((times < part.at).sum())
        assert len(part.train.y) + part.left_out == before
        assert part.left_out == int((known_at[times < part.at] > part.at).sum())
        tested += part.test.X.ravel().tolist()
    # each row from the first split on is tested once
    assert tested == data.X.ravel()[times >= parts[0].at].tolist()


def test_rows_without_a_label_have_no_gap() -> None:
    data = hours(100)
    unlabelled = replace(data, y=np.full(100, np.nan), known_at=np.full(100, np.datetime64("NaT", "us")))
    train, left_out = validated(unlabelled, 0.2, model="m", task="anomaly")
    assert (len(train.y), left_out) == (80, 0)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(StageError, match=r"'m': training\.validation: .* without the times .*: trimtab features"):
        validated(replace(hours(50), known_at=None), 0.2, model="m", task="binary")
    one_class = replace(hours(50), y=np.zeros(50))
    with pytest.raises(StageError, match=r"the rows known before 2026-01-02 15:12 are 40, all of class 0"):
        validated(one_class, 0.2, model="m", task="binary")
    with pytest.raises(StageError, match=r"fold 1 of training\.folds: the rows known before 2026-01-01 10:00 are 0"):
        expanding_folds(hours(20, delay=90), 1, model="m", task="binary", key="training.folds")
