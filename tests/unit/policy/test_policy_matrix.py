"""The decision matrix: bands cover 0 to 1, so every p-value has one answer."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from trimtab.policy.matrix import DEFAULT_MATRIX, Matrix

CELLS = {"low": "monitor", "medium": "review", "high": "retrain"}
PROBABILITIES = st.floats(min_value=0, max_value=1)


def inner() -> st.SearchStrategy[list[float]]:
    """Limits between bands."""
    return st.lists(st.integers(min_value=1, max_value=9_999), unique=True, max_size=6).map(
        lambda numbers: [number / 10_000 for number in sorted(numbers)]
    )


def matrix(limits: list[tuple[float, float]]) -> Matrix:
    return Matrix.model_validate(
        {f"band{n}": {"p": f"{low} - {high}", **CELLS} for n, (low, high) in enumerate(limits)}
    )


def tiles(edges: list[float]) -> list[tuple[float, float]]:
    borders = [0.0, *edges, 1.0]
    return list(pairwise(borders))


@given(inner(), PROBABILITIES, st.randoms(use_true_random=False))
def test_bands_that_cover_give_every_p_one_band(edges: list[float], p: float, shuffler: random.Random) -> None:
    limits = tiles(edges)
    made = matrix(shuffler.sample(limits, len(limits)))
    holding = [name for name, band in made.root.items() if band.p[0] <= p < band.p[1] or p == band.p[1] == 1]
    assert len(holding) == 1
    assert made.band(p)[0] == holding[0]


@given(inner(), st.data())
def test_a_gap_is_refused(edges: list[float], data: st.DataObject) -> None:
    limits = tiles(edges)
    del limits[data.draw(st.integers(min_value=0, max_value=len(limits) - 1))]
    with pytest.raises(ValidationError, match=r"the bands (leave a gap|end at)"):
        matrix(limits)


@given(inner(), st.data())
def test_an_overlap_is_refused(edges: list[float], data: st.DataObject) -> None:
    limits = tiles(edges)
    assume(len(limits) > 1)
    n = data.draw(st.integers(min_value=0, max_value=len(limits) - 2))
    limits[n] = (limits[n][0], (limits[n + 1][0] + limits[n + 1][1]) / 2)
    with pytest.raises(ValidationError, match="the bands overlap"):
        matrix(limits)


@pytest.mark.parametrize(
    ("p", "name"),
    [(0, "severe"), (0.0099, "severe"), (0.01, "moderate"), (0.05, "minor"), (0.051, "minor"), (1, "minor")],
)
def test_a_limit_belongs_to_the_band_above_it(p: float, name: str) -> None:
    assert Matrix.model_validate(DEFAULT_MATRIX).band(p)[0] == name


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, math.inf])
def test_what_is_no_p_value_has_no_band(p: float) -> None:
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        Matrix.model_validate(DEFAULT_MATRIX).band(p)


@pytest.mark.parametrize("text", ["> 0", ">0.0", "0 - 1", "0-1.0", " 0.00 - 1 ", "< 1"])
def test_one_band_may_cover_all(text: str) -> None:
    assert Matrix.model_validate({"all": {"p": text, **CELLS}}).band(0.3)[0] == "all"


@pytest.mark.parametrize(
    "p", [">= 0.05", "0.05", 0.05, [0.0, 1.0], "0.05 - 0.01", "> 1", "< 0", "0.5 - 1.5", "a - b", ""]
)
def test_what_is_no_band_says_how_one_looks(p: object) -> None:
    with pytest.raises(ValidationError, match="is no band of p-values: expected"):
        Matrix.model_validate({"all": {"p": p, **CELLS}})


def test_no_bands_are_too_few() -> None:
    with pytest.raises(ValidationError, match="the bands end at p = 0; expected them to cover 0 to 1"):
        Matrix.model_validate({})


def test_a_gap_is_told_with_its_limits() -> None:
    with pytest.raises(ValidationError, match=r"leave a gap between p = 0\.01 and 0\.05"):
        Matrix.model_validate({"a": {"p": "> 0.05", **CELLS}, "b": {"p": "< 0.01", **CELLS}})
