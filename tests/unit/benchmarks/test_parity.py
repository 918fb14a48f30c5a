"""The parity benchmark sees a difference, a row that is refused in addition, and a refusal in words."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.parity import __main__ as parity
from benchmarks.parity.__main__ import Line, measure, summary, table
from benchmarks.parity.kinds import Kind, kinds
from benchmarks.parity.real_rows import ALTERED, FEATURES, Rows, read_rows
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC

from trimtab.training.forms import choose


@pytest.fixture(scope="module")
def rows() -> Rows:
    return read_rows(80)


def test_rows_are_altered_in_turn(rows: Rows) -> None:
    quarter = len(rows.served) // len(ALTERED)
    assert rows.served.shape == (80, len(FEATURES))
    assert np.isnan(rows.served[quarter : 2 * quarter]).any(axis=1).all()
    assert (np.abs(rows.served[2 * quarter : 3 * quarter]) > 1e29).any(axis=1).all()


def test_what_serves_is_as_the_estimator(rows: Rows) -> None:
    line = measure(Kind(name="Ridge", task="regression", fit=lambda task, X, y: Ridge().fit(X, y)), rows)
    assert (line.runtime, line.over) == ("onnx", 0)
    assert 0 < line.difference < 1e-5


def test_a_difference_is_seen(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a package of another estimator than the one that it is compared with
    form = choose(Ridge().fit(rows.X, rows.y["regression"]), rows.X, task="regression", features=FEATURES)
    monkeypatch.setattr(parity, "choose", lambda *args, **options: form)
    line = measure(Kind(name="x", task="regression", fit=lambda task, X, y: Ridge().fit(X, y + 1)), rows)
    assert line.difference > 1e-3
    assert line.words == ""


def test_a_refusal_is_told_in_words(rows: Rows) -> None:
    line = measure(Kind(name="LinearSVC", task="binary", fit=lambda task, X, y: LinearSVC().fit(X, y)), rows)
    assert line.runtime == "refused"
    assert "has no predict_proba" in line.words


def test_a_kind_that_takes_no_single_label_is_told(rows: Rows) -> None:
    line = measure(Kind(name="x", task="binary", fit=lambda task, X, y: LogisticRegression().fit(X, y[:3])), rows)
    assert line.words.startswith("cannot be fitted on one label: ")


def test_there_are_more_than_eighty_kinds_over_all_tasks() -> None:
    found = list(kinds())
    assert len({kind.name for kind in found}) >= 80
    assert {kind.task for kind in found} == {"binary", "multiclass", "regression", "anomaly"}


def test_the_table_names_the_worst() -> None:
    lines = [Line("A", "binary", "onnx", 1e-7, 0, ""), Line("B", "binary", "skops", 3e-6, 2, "it has <no> graph | yet")]
    assert summary(lines) == "2 kinds, 2 lines with their tasks: 1 onnx, 1 skops; largest difference 3.0e-06 (B)"
    assert "| B | binary | skops | 3.0e-06 | 2 | it has no graph / yet |" in table(lines)
