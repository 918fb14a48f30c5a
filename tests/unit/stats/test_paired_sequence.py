"""Champion or challenger: honest under a look after every window, and decided when there is something to decide."""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binom, norm, skew

from trimtab.errors import DataError
from trimtab.stats.paired_sequence import (
    CONFIDENCE,
    boundary,
    compare,
    fewest_windows,
    paired_bounds,
    window_means,
)

HELD_OUT, LIVE = 36, 60
differences = st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=20, max_size=50)


def verdicts(live: np.ndarray, *, held_out: np.ndarray | None = None, **settings: Any) -> list[str]:
    """The verdict at every look until it is decided."""
    told: list[str] = []
    before = np.zeros(0) if held_out is None else held_out
    for look in range(1, len(live) + 1):
        told.append(compare(live[:look], held_out=before, **settings).verdict)
        if told[-1] != "continue":
            break
    return told


def score(values: list[float], margin: float) -> float:
    """The score of a comparison, step by step, with nothing but Python's numbers."""
    n, mean = len(values), sum(values) / len(values)
    apart = [value - mean for value in values]
    squares = sum(a * a for a in apart)
    sd = math.sqrt(squares / (n - 1))
    r = sum(a * b for a, b in pairwise(apart)) / squares
    r += (1 + 4 * r) / n
    r = (n * r + 20 * 0.5) / (n + 20) + 0.5 / math.sqrt(n + 20)
    r = min(max(r, 0.0), 0.9)
    tau = (1 + r) / (1 - r)
    z = (mean + margin) / (sd * math.sqrt(tau / n))
    c = min(float(skew(values)) - math.sqrt(6 / n), 0)
    z += c * (2 * z * z + 1) / (6 * math.sqrt(n)) + c * c * z**3 / (27 * n)
    df = max(n / tau - 1, 1.0)
    return math.copysign((8 * df + 1) / (8 * df + 3) * math.sqrt(df * math.log(1 + z * z / df)), z)


def limit(held_out: int, n: int, *, looks: int = LIVE, confidence: float = 0.95) -> float:
    constant = 2.15 + 0.30 * max(0, 1 - held_out / 72) + norm.ppf(confidence) - norm.ppf(0.95)
    return float(constant * ((held_out + looks) / n) ** 0.25)


@pytest.mark.parametrize("held_out", [0, 1, 36, 72, 200])
@pytest.mark.parametrize("margin", [0.0, 0.25])
@pytest.mark.parametrize("shape", ["normal", "skewed", "trend", "heavy"])
def test_a_bound_is_above_a_margin_exactly_when_the_score_is_above_the_boundary(
    held_out: int, margin: float, shape: str
) -> None:
    random = np.random.default_rng(held_out)
    above = 0
    for live in (20, 21, 40, 60):
        for mean in (-0.3, 0.1, 0.4, 1.0):
            n = held_out + live
            noise = {
                "normal": random.normal(size=n),
                "skewed": 1 - random.exponential(size=n),
                "trend": random.normal(size=n).cumsum() / 3,
                "heavy": random.standard_t(2, size=n),
            }[shape]
            x = noise + mean
            lower, upper = paired_bounds(x, held_out=held_out, max_windows=LIVE)
            above += score(list(x), margin) > limit(held_out, n)
            assert (lower > -margin) == (score(list(x), margin) > limit(held_out, n))
            assert (upper < margin) == (score(list(-x), margin) > limit(held_out, n))
            assert score(list(x), -float(lower)) == pytest.approx(limit(held_out, n), rel=1e-6)
            assert score(list(-x), float(upper)) == pytest.approx(limit(held_out, n), rel=1e-6)
    assert above or shape in ("trend", "heavy")


def test_many_comparisons_at_once_are_bounded_like_each_alone() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 25))
    lower, upper = paired_bounds(x, held_out=5, max_windows=30)
    for place in np.ndindex(3, 4):
        alone = paired_bounds(x[place], held_out=5, max_windows=30)
        assert (lower[place], upper[place]) == pytest.approx((float(alone[0]), float(alone[1])), rel=1e-12)


@pytest.mark.parametrize("held_out", [0, HELD_OUT])
def test_equal_models_are_seldom_promoted_however_often_one_looks(held_out: int) -> None:
    random, trials = np.random.default_rng(1), 200
    streams = random.normal(size=(trials, held_out + LIVE))
    false = sum(verdicts(x[held_out:], held_out=x[:held_out])[-1] == "promote" for x in streams)
    assert false <= binom.ppf(0.999, trials, 0.03)


def test_rare_large_losses_and_days_alike_do_not_promote_an_equal_model() -> None:
    random, trials = np.random.default_rng(2), 150
    skewed = 1 - random.exponential(size=(trials, LIVE))
    noise = random.normal(size=(trials, LIVE))
    alike = np.zeros((trials, LIVE))
    for day in range(1, LIVE):
        alike[:, day] = 0.6 * alike[:, day - 1] + noise[:, day]
    for streams in (skewed, alike):
        assert sum(verdicts(x)[-1] == "promote" for x in streams) <= binom.ppf(0.999, trials, 0.05)


def test_a_better_challenger_is_promoted_and_after_five_live_windows_with_evidence_from_before() -> None:
    random, trials = np.random.default_rng(3), 60
    streams = random.normal(0.6, 1, size=(trials, 72 + LIVE))
    told = [verdicts(x[72:], held_out=x[:72]) for x in streams]
    assert sum(t[-1] == "promote" for t in told) >= 0.95 * trials
    assert np.median([len(t) for t in told]) == 5


def test_without_enough_windows_nothing_is_decided() -> None:
    x = [0.9, 1.0, 1.1, 1.0]
    told = compare(x * 4 + x[:3])
    assert (told.verdict, told.lower, told.upper) == ("continue", -math.inf, math.inf)
    assert told.reason == "19 of at least 20 windows"
    assert compare(x * 5).verdict == "promote"
    assert compare(x, held_out=x * 9).reason == "4 of at least 5 live windows"
    assert compare([*x, 1.0], held_out=x * 9).verdict == "promote"
    assert compare(x[:2], held_out=x * 9, min_windows=2).verdict == "promote", "at most min_windows live ones"
    assert compare(x * 3, max_windows=12).lower > -math.inf, "no more than max_windows can be asked for"
    assert compare(x * 2 + [1.0], max_windows=12).reason == "9 of at least 12 windows"
    assert math.isnan(compare([]).mean)


def test_a_gain_that_live_windows_do_not_show_does_not_promote() -> None:
    before = [0.9, 1.0, 1.1] * 30
    live = [0.01, -0.02, -0.01, 0.0, -0.03]
    told = compare(live, held_out=before)
    assert told.lower > 0
    assert told.verdict == "continue"
    assert "but -0.01 in live windows" in told.reason
    assert compare(live, held_out=before, tolerate=0.02).verdict == "promote"
    assert compare([0.0] * 5, held_out=before).verdict == "continue", "exactly nothing is no gain"


@pytest.mark.parametrize("value", [0.1, -0.1, 1e-300, 0.1 + 0.2])
def test_constant_differences_are_never_decided(value: float) -> None:
    told = compare([value] * 60)
    assert (told.verdict, told.lower, told.upper) == ("continue", -math.inf, math.inf)
    assert "the same in all windows" in told.reason


def test_a_gain_surely_under_the_smallest_effect_is_futile_and_never_promoted() -> None:
    x = np.random.default_rng(3).normal(0.05, 0.02, size=60)
    assert compare(x).verdict == "promote"
    told = compare(x, smallest_effect=0.1)
    assert told.verdict == "futile"
    assert "0.1 is worth having" in told.reason
    assert verdicts(x[:40], smallest_effect=0.2)[-1] == "futile"
    assert compare(x, smallest_effect=0.1, tolerate=1.0).verdict == "futile"
    assert compare(x, smallest_effect=0.05).verdict == "promote", "it may be worth having"


def test_a_worse_challenger_is_futile() -> None:
    assert compare(np.random.default_rng(4).normal(-0.2, 0.1, size=30)).verdict == "futile"


def test_a_tolerated_loss_promotes_an_equal_model_but_none_whose_mean_is_lower() -> None:
    x = np.random.default_rng(5).normal(size=60)
    equal = x - x.mean() + 0.01
    assert compare(equal).verdict == "continue"
    told = compare(equal, tolerate=0.9)
    assert told.verdict == "promote"
    assert "0.9 is tolerated" in told.reason
    assert compare(equal - 0.02, tolerate=0.9).verdict == "continue"


@given(differences, st.integers(0, 14), st.floats(-40, 40))
def test_the_unit_of_the_loss_does_not_matter(values: list[float], held_out: int, power: float) -> None:
    assume(np.ptp(values) > 1e-3)
    unit, x = 2.0 ** round(power), np.array(values)
    one = compare(x[held_out:], held_out=x[:held_out])
    other = compare(unit * x[held_out:], held_out=unit * x[:held_out])
    assert one.verdict == other.verdict
    assert other.lower == pytest.approx(unit * one.lower, rel=1e-9)


@given(differences, st.integers(0, 14), st.floats(0, 2), st.floats(0, 2))
def test_more_tolerance_never_takes_a_promotion_back(
    values: list[float], held_out: int, less: float, more: float
) -> None:
    live, before = values[held_out:], values[:held_out]
    told = [compare(live, held_out=before, tolerate=m).verdict for m in sorted((less, more))]
    assert told[0] != "promote" or told[1] == "promote"


@given(differences, st.integers(0, 14), st.floats(0, 3))
def test_nothing_without_a_gain_is_promoted(values: list[float], held_out: int, tolerate: float) -> None:
    x = np.array(values)
    x = x - max(float(x.mean()), 0.0) - 1e-12
    assert compare(x[held_out:], held_out=x[:held_out], tolerate=tolerate).verdict != "promote"


@given(differences, st.floats(0, 1))
def test_a_gain_added_to_all_windows_moves_the_bounds_by_as_much(values: list[float], gain: float) -> None:
    assume(np.ptp(values) > 1e-3)
    lower, upper = paired_bounds(values, held_out=0)
    moved = paired_bounds(np.array(values) + gain, held_out=0)
    assert moved[0] == pytest.approx(lower + gain, rel=1e-6, abs=1e-9)
    assert moved[1] == pytest.approx(upper + gain, rel=1e-6, abs=1e-9)


@given(differences)
def test_the_bounds_of_the_mirror_image_are_mirrored(values: list[float]) -> None:
    lower, upper = paired_bounds(values, held_out=7)
    mirrored = paired_bounds(-np.array(values), held_out=7)
    assert (float(lower), float(upper)) == (-float(mirrored[1]), -float(mirrored[0]))
    assert lower <= np.mean(values) <= upper


def test_windows_that_resemble_the_one_before_count_less() -> None:
    x = np.random.default_rng(6).normal(0.3, 1, size=60)
    mixed = compare(x)
    ordered = compare(np.sort(x))
    assert ordered.mean == pytest.approx(mixed.mean)
    assert ordered.lower < mixed.lower, "the order of windows is part of the evidence"


def test_more_confidence_and_more_looks_move_the_boundary_out_and_held_out_windows_move_it_in() -> None:
    assert boundary(60, held_out=0, max_windows=60) == pytest.approx(2.45)
    assert [boundary(h + 60, held_out=h, max_windows=60) for h in (72, 172)] == pytest.approx([2.15, 2.15])
    assert boundary(30, held_out=0, max_windows=60) == pytest.approx(2.45 * 2**0.25)
    assert boundary(90, held_out=0, max_windows=60) == pytest.approx(2.45), "beyond the looks it holds for, no easier"
    levels = [boundary(60, held_out=0, max_windows=60, confidence=c) for c in (0.5, 0.9, CONFIDENCE, 0.99)]
    assert levels == sorted(levels)
    assert levels[3] - levels[2] == pytest.approx(norm.ppf(0.99) - norm.ppf(0.95))


def test_extreme_numbers_stay_numbers() -> None:
    for size in (sys.float_info.min * 1e10, 1e-150, 1e150):
        told = compare(size * np.array([1.0, 2.0, 1.5] * 10))
        assert told.verdict == "promote"
        assert 0 < told.lower < told.mean < told.upper < math.inf


def test_no_rule_can_prove_an_effect_in_fewer_windows_than_the_bound() -> None:
    assert fewest_windows(0.5, power=0.81) == pytest.approx(15.6, abs=0.05)
    assert fewest_windows(0.25, power=0.81) == pytest.approx(4 * fewest_windows(0.5, power=0.81))
    assert fewest_windows(0.5, power=0.81, tau=2.0) == pytest.approx(2 * fewest_windows(0.5, power=0.81))


def test_settings_and_figures_are_checked() -> None:
    with pytest.raises(DataError, match="no finite loss difference"):
        compare([0.1, float("nan")])
    with pytest.raises(DataError, match="no finite loss difference"):
        compare([0.1], held_out=[float("inf")])
    with pytest.raises(DataError, match=r"confidence 1\.0"):
        compare([0.1], confidence=1.0)
    with pytest.raises(DataError, match=r"smallest_effect -1\.0"):
        compare([0.1], smallest_effect=-1.0)
    with pytest.raises(DataError, match=r"tolerate -0\.1"):
        compare([0.1], tolerate=-0.1)
    with pytest.raises(DataError, match="windows 1"):
        compare([0.1], min_windows=1)
    with pytest.raises(DataError, match="live windows 0"):
        compare([0.1], min_live_windows=0)
    with pytest.raises(DataError, match="1 windows: bounds need at least 2"):
        paired_bounds([0.1], held_out=0)


def test_window_means() -> None:
    assert window_means([1.0, 2.0, 3.0, 10.0], [20, 10, 20, 30]).tolist() == [2.0, 2.0, 10.0]
