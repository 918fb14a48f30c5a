"""What a model does not take, and how rows are checked for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from trimtab.bundle.limits import FLOAT32_MAX, InputCheck, answers, ask_scorer
from trimtab.bundle.spec import Limits, Task, read_spec, write_spec
from trimtab.testing.bundles import plain_spec

NAN, INF = np.nan, np.inf
LIMITS = Limits(no_null=("a",), highest={"a": FLOAT32_MAX, "b": 10.0}, lowest={"b": -1.5}, categories={"c": (0.0, 2.0)})


def rows(*values: list[float]) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.float32)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([1.0, 2.0, 0.0], None),
        ([1.0, NAN, NAN], None),
        ([-INF, 10.0, 2.0], None),
        ([NAN, 2.0, 0.0], (1, 0, "null")),
        ([INF, 2.0, 0.0], (1, 0, "high")),
        ([0.0, 10.5, 0.0], (1, 1, "high")),
        ([0.0, -2.0, 0.0], (1, 1, "low")),
        ([0.0, 0.0, 1.0], (1, 2, "category")),
        ([0.0, 0.0, -0.0], None),
    ],
)
def test_the_first_value_that_is_not_taken_is_found(row: list[float], problem: tuple[int, int, str] | None) -> None:
    check = InputCheck(("a", "b", "c"), LIMITS)
    X = rows([1.0, 2.0, 0.0], row)
    assert check.problem(X) == problem
    assert check.passes(X) is (problem is None)
    assert check.refused_rows(X).tolist() == [False, problem is not None]


def test_limits_are_kept_in_the_bundle_and_older_bundles_have_none(tmp_path: Path) -> None:
    write_spec(tmp_path, plain_spec("m", ["a", "b", "c"], limits=LIMITS))
    assert read_spec(tmp_path).limits == LIMITS

    # when the file is one that was written before
    path = tmp_path / "bundle.json"
    content = msgspec.json.decode(path.read_bytes())
    del content["limits"]
    path.write_bytes(msgspec.json.encode(content))
    assert read_spec(tmp_path).limits is None


class Scored:
    """A model that is a function."""

    task: Task = "binary"
    in_process = True

    def __init__(self, score: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> None:
        self._score = score

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return self._score(X)

    def close(self) -> None:
        """Nothing is held."""


def test_a_model_is_asked_by_what_it_raises_and_by_what_is_no_number() -> None:
    def score(X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if np.isinf(X[:, 1]).any():
            raise ValueError("infinity")
        return np.where(np.isnan(X[:, 0]), NAN, 1.0)

    assert ask_scorer(Scored(score), ("a", "b")) == Limits(
        no_null=("a",), highest={"b": FLOAT32_MAX}, lowest={"b": -FLOAT32_MAX}
    )
    assert answers(score, rows([0, 0], [0, INF], [NAN, 0])).tolist()[0] == 1.0
