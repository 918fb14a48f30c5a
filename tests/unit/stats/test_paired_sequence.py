"""Champion or challenger: honest under a look after every window, and decided when there is something to decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from trimtab.errors import DataError
from trimtab.stats.paired_sequence import compare, half_width, window_means

LOOKS = range(10, 101)


def verdicts(differences: np.ndarray, *, smallest_effect: float = 0.0) -> list[str]:
    """The verdict at every look until it is decided."""
    told: list[str] = []
    for look in LOOKS:
        told.append(compare(differences[:look], smallest_effect=smallest_effect).verdict)
        if told[-1] != "continue":
            break
    return told


def test_bounds_are_those_of_the_confidence_sequence() -> None:
    x = np.random.default_rng(0).normal(0.2, 2, size=40)
    n, rho2, alpha = 40, 1 / 20, 0.05
    radius = math.sqrt(2 * (n * rho2 + 1) / (n**2 * rho2) * math.log(1 + math.sqrt(n * rho2 + 1) / (2 * alpha)))
    told = compare(x)
    assert [told.n, told.mean] == pytest.approx([40, x.mean()])
    assert told.lower == pytest.approx(x.mean() - x.std(ddof=1) * radius)
    assert told.upper == pytest.approx(x.mean() + x.std(ddof=1) * radius)


def test_equal_models_are_seldom_promoted_however_often_one_looks() -> None:
    random, trials = np.random.default_rng(1), 300
    false = sum(verdicts(random.normal(size=100))[-1] == "promote" for _ in range(trials))
    assert false <= binom.ppf(0.999, trials, 0.05)


def test_a_better_challenger_is_promoted() -> None:
    random, trials = np.random.default_rng(2), 60
    right = sum(verdicts(random.normal(0.5, 1, size=100))[-1] == "promote" for _ in range(trials))
    assert right >= 0.9 * trials


def test_what_cannot_reach_the_smallest_effect_is_given_up() -> None:
    told = compare(np.random.default_rng(3).normal(-0.2, 0.5, size=80), smallest_effect=0.1)
    assert told.verdict == "futile"
    assert "0.1 is worth having" in told.reason


def test_before_ten_windows_nothing_is_decided() -> None:
    told = compare([1.0] * 9)
    assert (told.verdict, told.lower, told.upper) == ("continue", -math.inf, math.inf)
    assert told.reason == "9 of at least 10 windows"
    assert compare([1.0] * 10).verdict == "promote"
    assert math.isnan(compare([]).mean)


def test_more_confidence_and_fewer_windows_widen_the_bounds() -> None:
    assert half_width(50, alpha=0.01) > half_width(50, alpha=0.05) > half_width(100, alpha=0.05)


def test_settings_and_figures_are_checked() -> None:
    with pytest.raises(DataError, match="no finite loss difference"):
        compare([0.1, float("nan")])
    with pytest.raises(DataError, match=r"confidence 1\.0"):
        compare([0.1], confidence=1.0)
    with pytest.raises(DataError, match=r"smallest_effect -1\.0"):
        compare([0.1], smallest_effect=-1.0)
    with pytest.raises(DataError, match="min_windows 1"):
        compare([0.1], min_windows=1)


def test_window_means() -> None:
    assert window_means([1.0, 2.0, 3.0, 10.0], [20, 10, 20, 30]).tolist() == [2.0, 2.0, 10.0]
