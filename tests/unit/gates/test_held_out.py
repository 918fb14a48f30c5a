"""Windows of the holdout that neither model was trained on, with the candidate's gain over the champion in each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.clock import to_micros
from trimtab.gates.held_out import held_out_windows
from trimtab.gates.inputs import GateInputs
from trimtab.metric_catalog import Task
from trimtab.stats.metrics import metric_value
from unit.gates.lookup import table_scorer

DAY = 86_400_000_000
DAYS, ROWS = 12, 40


def inputs(folder: Path, *, task: Task = "binary", rows: int = ROWS, champion: bool = True) -> GateInputs:
    """Twelve days of so many rows; the candidate is a little better than the champion."""
    random = np.random.default_rng(0)
    count = DAYS * rows
    y = (random.random(count) < 0.4).astype(np.float64) if task == "binary" else random.normal(size=count)
    guesses = [np.clip(0.4 + w * (y - 0.4) + random.normal(0, 0.1, count), 0.02, 0.98) for w in (0.5, 0.3)]
    at = np.repeat(np.arange(DAYS), rows) * DAY + np.tile(np.arange(rows), DAYS) * (DAY // rows)
    numbers = np.arange(count, dtype=np.float32).reshape(-1, 1)
    return GateInputs(
        X=numbers,
        y=y,
        timestamps=at.astype("datetime64[us]"),
        feature_names=("n",),
        candidate=table_scorer(guesses[0], task),
        champion=table_scorer(guesses[1], task) if champion else None,
        folder=folder,
    )


def windows(given: GateInputs, *, metrics: tuple[str, ...] = ("log_loss",), **settings: Any) -> Any:
    return held_out_windows(given, metrics=metrics, **{"window": DAY, "start": 0, "end": DAYS * DAY, **settings})


@pytest.mark.parametrize(("task", "metrics"), [("binary", ("log_loss", "roc_auc")), ("regression", ("rmse", "r2"))])
def test_each_window_has_the_gain_on_its_own_rows(tmp_path: Path, task: Task, metrics: tuple[str, ...]) -> None:
    given = inputs(tmp_path, task=task)
    found = windows(given, metrics=metrics)
    assert [to_micros(w.start) // DAY for w in found] == list(range(DAYS))
    assert {to_micros(w.end) - to_micros(w.start) for w in found} == {DAY}
    assert {w.rows for w in found} == {ROWS}
    assert given.champion_scores is not None
    for day, window in enumerate(found):
        rows = slice(day * ROWS, (day + 1) * ROWS)
        one, other = (
            [metric_value(m, given.y[rows], scores[rows], threshold=0.5) for m in metrics]
            for scores in (given.scores, given.champion_scores)
        )
        less, more = other[0] - one[0], one[1] - other[1]
        assert window.gains == pytest.approx({metrics[0]: less, metrics[1]: more})
    assert np.mean([w.gains[metrics[0]] for w in found]) > 0, "the candidate is the better one"


def test_only_whole_windows_between_start_and_end_count(tmp_path: Path) -> None:
    given = inputs(tmp_path)

    def days(start: int, end: int) -> list[int]:
        return [to_micros(w.start) // DAY for w in windows(given, start=start, end=end)]

    assert days(2 * DAY, 5 * DAY) == [2, 3, 4]
    assert days(2 * DAY + 1, 5 * DAY) == [3, 4], "a model may have been trained on the first microsecond"
    assert days(2 * DAY, 5 * DAY - 1) == [2, 3], "labels of the last microsecond may be missing"
    assert days(5 * DAY, 5 * DAY) == []


def test_thin_windows_are_left_out(tmp_path: Path) -> None:
    given = inputs(tmp_path)
    at = given.timestamps.astype(np.int64)
    at[ROWS // 2 + 1 : ROWS] += DAY  # 21 of 40 rows stay on the first day
    exactly = GateInputs(**{**vars(given), "timestamps": at.astype("datetime64[us]")})
    assert len(windows(exactly)) == DAYS
    at[ROWS // 2 - 1 : ROWS // 2 + 1] += DAY
    fewer = GateInputs(**{**vars(given), "timestamps": at.astype("datetime64[us]")})
    assert [to_micros(w.start) // DAY for w in windows(fewer)] == list(range(1, DAYS))


def test_rows_that_a_model_cannot_score_and_metrics_that_are_not_defined_are_left_out(tmp_path: Path) -> None:
    given = inputs(tmp_path)
    one_class = GateInputs(
        **{**vars(given), "y": np.where(given.timestamps < np.datetime64("1970-01-02"), 1.0, given.y)}
    )
    found = windows(one_class, metrics=("roc_auc", "log_loss"))
    assert list(found[0].gains) == ["log_loss"], "one class has no area under a curve"
    assert set(found[1].gains) == {"roc_auc", "log_loss"}
    assert windows(one_class, metrics=("roc_auc",))[0].start == found[1].start


def test_without_a_champion_there_is_no_evidence(tmp_path: Path) -> None:
    assert windows(inputs(tmp_path, champion=False)) == ()


def test_the_champion_decides_by_its_own_threshold(tmp_path: Path) -> None:
    given = inputs(tmp_path)
    same = given.candidate
    lower = GateInputs(**{**vars(given), "champion": same, "threshold": 0.6, "champion_threshold": 0.3})
    found = windows(lower, metrics=("f1",))[0].gains["f1"]
    y, scores = given.y[:ROWS], given.scores[:ROWS]
    own, other = (metric_value("f1", y, scores, threshold=limit) for limit in (0.6, 0.3))
    assert found == pytest.approx(own - other)
    assert found != 0
