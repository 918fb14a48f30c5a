"""The upward detector: honest about figures that wobble, deaf to improvement, quick about harm."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binom

from trimtab.errors import DataError
from trimtab.stats.upward_test import UpwardDetector


def fitted(values: np.ndarray) -> UpwardDetector:
    """A detector whose reference windows have 100 rows each."""
    return UpwardDetector.fit(values.tolist(), [100] * len(values))


@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_nothing_changes_few_alarms(shape: str) -> None:
    p, smallest = [], []
    for seed in range(60):
        values = getattr(np.random.default_rng(seed), shape)(size=100)
        detector = fitted(values[:40])
        steps = [detector.step(value, 100) for value in values[40:]]
        p += [step.p for step in steps]
        smallest.append(min(step.p_seq for step in steps))
    for alpha in (0.01, 0.05, 0.2):
        assert (np.array(p) <= alpha).sum() <= binom.ppf(0.999, len(p), alpha)
    assert (np.array(smallest) < 0.05).sum() <= binom.ppf(0.999, 60, 0.05)


def test_fewer_rows_may_wobble_more() -> None:
    random = np.random.default_rng(8)
    reference = [float(random.exponential(size=400).mean()) for _ in range(60)]
    detector = UpwardDetector.fit(reference, [400] * 60)
    steps = [detector.step(float(random.exponential(size=210).mean()), 210) for _ in range(300)]
    assert sum(step.p <= 0.05 for step in steps) <= binom.ppf(0.999, 300, 0.05)
    assert min(step.p_seq for step in steps) > 0.05


def test_the_same_rise_over_fewer_rows_says_less() -> None:
    values = np.random.default_rng(9).normal(size=60)
    p = [fitted(values).step(4.0, rows).p for rows in (60, 80, 100, 500)]
    assert p[0] > 1.5 * p[1] > 2 * p[2]
    assert p[2] == p[3]


def test_harm_is_seen_in_time() -> None:
    values = np.random.default_rng(1).normal(0.10, 0.01, size=60)
    detector = fitted(values[:50])
    for value in values[50:]:
        detector.step(value, 100)
    steps = [detector.step(0.16, 100) for _ in range(5)]
    assert all(step.p < 0.01 for step in steps)
    assert steps[-1].p_seq < 0.05
    assert steps[0].expected == pytest.approx(0.1, abs=0.005)
    assert steps[0].rise_sd == pytest.approx(6, rel=0.4)
    assert "0.16 where 0.09964 is usual" in steps[0].reason


def test_a_small_lasting_rise_is_seen() -> None:
    random = np.random.default_rng(2)
    detector = fitted(random.normal(size=60))
    assert min(detector.step(value, 100).p_seq for value in random.normal(1.5, size=25)) < 0.05


def test_getting_better_is_no_alarm() -> None:
    random = np.random.default_rng(3)
    detector = fitted(random.normal(size=40))
    assert all(step.p > 0.9 and step.p_seq == 1 for step in (detector.step(-9.0, 100) for _ in range(20)))


def test_windows_with_few_labels_wait_for_the_next() -> None:
    detector = fitted(np.random.default_rng(4).normal(size=40))
    nothing, little, enough = detector.step(float("nan"), 0), detector.step(4.0, 20), detector.step(1.0, 40)
    assert (nothing.tested, little.tested, enough.tested) == (False, False, True)
    assert [enough.n, enough.value] == pytest.approx([60, 2.0])
    assert little.reason == "20 rows, 50 are needed: held until the next window"


def test_small_reference_windows_are_merged() -> None:
    detector = UpwardDetector.fit([1.0, 2.0, 4.0, 3.0, 5.0, 9.0], [100, 100, 20, 80, 100, 25])
    assert detector.reference_windows == 4
    assert detector.state()["pool"] == [[1.0, 100], [2.0, 100], [3.2, 100], [5.8, 125]]


@pytest.mark.parametrize("after", [0, 7, 18])
def test_a_restart_changes_nothing(after: int) -> None:
    random = np.random.default_rng(5)
    detector = fitted(random.normal(size=40))
    figures = [*zip(random.normal(size=15).tolist(), [100] * 15, strict=True), (0.3, 9), (0.2, 90), *[(6.0, 100)] * 5]
    whole = UpwardDetector.from_state(json.loads(json.dumps(detector.state())))
    told = [detector.step(*figure) for figure in figures[:after]]
    again = UpwardDetector.from_state(json.loads(json.dumps(detector.state(), allow_nan=False)))
    told += [again.step(*figure) for figure in figures[after:]]
    assert told == [whole.step(*figure) for figure in figures]
    assert again.state() == whole.state()


def test_a_constant_reference_takes_the_spread_it_is_told() -> None:
    strict = UpwardDetector.fit([0.0] * 40, [100] * 40)
    lenient = UpwardDetector.fit([0.0] * 40, [100] * 40, smallest_sd=0.02)
    assert strict.step(0.0, 100).p == 1
    assert strict.step(0.01, 100).p < 0.01 < lenient.step(0.01, 100).p


def test_few_reference_windows_are_told_of() -> None:
    step = fitted(np.random.default_rng(6).normal(size=10)).step(0.0, 100)
    assert not step.enough_reference
    assert "only 10 reference windows" in step.reason


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(DataError, match="2 values but 1 row counts"):
        UpwardDetector.fit([1.0, 2.0], [5])
    with pytest.raises(DataError, match="no finite value"):
        UpwardDetector.fit([1.0, float("nan"), 2.0], [5, 5, 5])
    with pytest.raises(DataError, match="2 reference windows"):
        UpwardDetector.fit([1.0, 2.0], [5, 5])
    with pytest.raises(DataError, match="window with 100 rows is nan"):
        fitted(np.arange(40.0)).step(float("nan"), 100)
