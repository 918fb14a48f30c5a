"""Prediction intervals hold as many true values as they promise, or say that they cannot."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.bundle.calibration import COVERAGES, Calibration, calibrate, rank
from trimtab.bundle.spec import read_spec, write_spec
from trimtab.errors import DataError
from trimtab.testing.bundles import plain_spec


@given(st.sampled_from(COVERAGES), st.integers(0, 5000))
def test_the_rank_is_exact(coverage: float, n: int) -> None:
    k = rank(coverage, n)
    exact = Fraction(str(coverage)) * (n + 1)
    assert k - 1 < exact <= k


def test_nine_residuals_promise_ninety_percent_and_no_more() -> None:
    # given the least number of rows whose largest residual covers 90 %
    made = calibrate(np.arange(1.0, 10.0), np.zeros(9))
    assert made.rows == 9
    assert made.half_width(0.9) == 9.0
    assert made.half_width(0.5) == 5.0
    assert made.half_width(0.91) == math.inf
    assert calibrate(np.arange(1.0, 9.0), np.zeros(8)).half_width(0.9) == math.inf


def test_no_rows_promise_nothing() -> None:
    assert calibrate(np.empty(0), np.empty(0)).half_width(0.5) == math.inf


@given(st.lists(st.floats(0, 1e6), min_size=0, max_size=300))
def test_widths_never_fall_with_the_coverage(residuals: list[float]) -> None:
    made = calibrate(np.array(residuals), np.zeros(len(residuals)))
    widths = [made.half_width(coverage) for coverage in np.linspace(0.01, 0.9999, 60)]
    assert widths == sorted(widths)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(5, 400), st.sampled_from([0.5, 0.72, 0.8, 0.9, 0.95, 0.99]))
def test_intervals_hold_the_promised_share(seed: int, n: int, coverage: float) -> None:
    # given many calibrations with skewed noise, each tried on rows of its own
    rng = np.random.default_rng(seed)
    trials, fresh = 200, 20
    held = 0.0
    for _ in range(trials):
        noise = rng.standard_gamma(0.7, size=n + fresh) * rng.choice([-1.0, 3.0], size=n + fresh)
        held += float((np.abs(noise[n:]) <= calibrate(noise[:n], np.zeros(n)).half_width(coverage)).mean())

    # then the mean share is between the coverage and the coverage + 1 / (n + 1), but for chance
    share, slack = held / trials, 5 * math.sqrt(0.25 / trials * (1 / fresh + 1 / (n + 2)))
    assert share >= coverage - slack
    assert share <= (coverage + 1 / (n + 1) if rank(coverage, n) <= n else 1.0) + slack


def test_unlabelled_rows_are_left_out_and_bad_scores_refused() -> None:
    assert calibrate(np.array([1.0, np.nan, 2.0]), np.zeros(3)).rows == 2
    with pytest.raises(DataError, match="not finite"):
        calibrate(np.array([1.0, 2.0]), np.array([np.nan, 0.0]))


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0, 90.0, math.nan])
def test_an_impossible_coverage_is_refused(coverage: float) -> None:
    with pytest.raises(DataError, match="expected a share between 0 and 1"):
        calibrate(np.ones(5), np.zeros(5)).half_width(coverage)


def test_it_is_written_and_read_back_with_the_bundle(tmp_path: Path) -> None:
    made = calibrate(np.random.default_rng(0).normal(size=1000), np.zeros(1000))
    write_spec(tmp_path, plain_spec("delay", ["a"], task="regression", calibration=made))
    assert read_spec(tmp_path).calibration == made
    assert (tmp_path / "bundle.json").stat().st_size < 4000


@pytest.mark.parametrize(
    ("coverages", "half_widths"), [((0.5,), ()), ((0.6, 0.5), (1.0, 2.0)), ((0.5, 0.6), (2.0, 1.0)), ((0.5,), (-1.0,))]
)
def test_a_table_that_is_none_is_refused(coverages: tuple[float, ...], half_widths: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="coverages"):
        Calibration(rows=10, coverages=coverages, half_widths=half_widths)
