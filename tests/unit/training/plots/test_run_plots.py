"""The plots of a run: those of its task, well-formed, the same each time, with the numbers of the rows."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.bundle.typed_matrix import Schema, TypedMatrix, objects
from trimtab.metric_catalog import TASKS, Task
from trimtab.training.plots.charts import Line, bar_chart, line_chart
from trimtab.training.plots.run_plots import Judged, draw, importance

ROWS = 300
OF_TASK = {
    "binary": {"roc", "precision_recall", "calibration", "confusion", "importance"},
    "multiclass": {"roc", "precision_recall", "calibration", "confusion", "importance"},
    "regression": {"predicted", "residuals", "importance"},
    "anomaly": {"roc", "precision_recall", "confusion", "scores", "importance"},
}
Array = np.ndarray[Any, Any]


class FirstColumn:
    """Scores by the first feature alone."""

    in_process = True

    def __init__(self, task: Task) -> None:
        self.task = task

    def score(self, X: Array) -> Array:
        p = 1 / (1 + np.exp(-np.asarray(X)[:, 0].astype(np.float64)))
        if self.task == "multiclass":
            return np.column_stack([p / 2, p / 2, 1 - p])
        return p

    def close(self) -> None: ...


def judged(task: Task, **changes: Any) -> Judged:
    random = np.random.default_rng(0)
    X = random.normal(size=(ROWS, 2)).astype(np.float32)
    y = {
        "multiclass": np.where(X[:, 0] < 0, 2, random.integers(0, 2, ROWS)),
        "regression": X[:, 0] + random.normal(0, 0.1, ROWS),
    }.get(task, (X[:, 0] + random.normal(0, 0.5, ROWS) > 0.3))
    known: dict[str, Any] = {
        "task": task,
        "features": ("used", "un<used"),
        "X": X,
        "y": np.asarray(y, np.float64),
        "scores": FirstColumn(task).score(X),
        "threshold": 0.5,
        "classes": ("red", "green & blue", "none") if task == "multiclass" else (),
    }
    return Judged(**{**known, **changes})


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_its_plots_and_they_are_the_same_each_time(task: Task) -> None:
    found = draw(judged(task), FirstColumn(task), 3)
    assert found.keys() == OF_TASK[task]
    for text in found.values():
        assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
        assert "nan" not in text
    assert draw(judged(task), FirstColumn(task), 3) == found


@pytest.mark.parametrize("task", TASKS)
def test_only_a_feature_that_is_used_has_importance(task: Task) -> None:
    found = importance(judged(task), FirstColumn(task), 3)
    assert found["used"][0] > 0.01
    assert found["un<used"] == (0.0, 0.0)


def test_a_confusion_matrix_counts_every_row() -> None:
    text = draw(judged("multiclass"), FirstColumn("multiclass"), 3)["confusion"]
    counts = [int(each.replace(",", "")) for each in re.findall(r">([\d,]+)</text>", text)]
    assert sum(counts) == ROWS


def test_anomalies_without_labels_have_the_plots_that_need_none() -> None:
    rows = judged("anomaly", y=np.full(ROWS, np.nan))
    found = draw(rows, FirstColumn("anomaly"), 3)
    assert found.keys() == {"scores", "importance"}
    assert "mean change of the score" in found["importance"]
    assert "all rows (300)" in found["scores"]


def test_rows_that_a_model_refuses_and_classes_that_it_does_not_know_are_left_out() -> None:
    scores, y = FirstColumn("multiclass").score(judged("multiclass").X), judged("multiclass").y.copy()
    scores[0], y[1] = np.nan, -1.0
    text = draw(judged("multiclass", scores=scores, y=y), FirstColumn("multiclass"), 3)["confusion"]
    assert sum(int(each) for each in re.findall(r">(\d+)</text>", text)) == ROWS - 2


def test_a_typed_column_is_shuffled_with_its_exact_values() -> None:
    schema = Schema.known(("used", "un<used"), {"used": "text"}, {}, "frame", "missing")
    assert schema is not None
    texts = objects([f"t{place % 5}" for place in range(ROWS)])
    X = TypedMatrix.of(schema, {"used": texts, "un<used": np.zeros(ROWS, np.float32)})

    class ByText(FirstColumn):
        def score(self, X: Array) -> Array:
            assert isinstance(X, TypedMatrix)
            return np.array([0.9 if text == "t1" else 0.1 for text in X.exact[0]])

    scorer = ByText("binary")
    rows = judged("binary", X=X, y=(texts == "t1").astype(np.float64), scores=scorer.score(X))
    assert importance(rows, scorer, 3)["used"][0] > 0.1


@given(
    st.lists(st.tuples(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12)), max_size=20),
    st.text(max_size=40),
    st.booleans(),
)
def test_any_numbers_and_names_give_a_picture(points: list[tuple[float, float]], name: str, square: bool) -> None:
    line = Line(name=name, x=[x for x, _ in points], y=[y for _, y in points])
    printable = "".join(each for each in name if each.isprintable())
    named = Line(name=printable, x=line.x, y=line.y)
    ET.fromstring(line_chart("title", "x", "y", [named], square=square))
    ET.fromstring(bar_chart("title", "x", [(printable, x, abs(y)) for x, y in points]))
