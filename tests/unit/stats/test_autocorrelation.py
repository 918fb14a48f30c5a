"""Autocorrelation time: 1 for independent windows, more for windows that resemble their neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.stats.autocorrelation import autocorrelation_time, tempering


def autoregressive(phi: float, size: int, seed: int) -> np.ndarray:
    """A sequence whose autocorrelation time is (1 + phi) / (1 - phi)."""
    noise = np.random.default_rng(seed).normal(size=size)
    for place in range(1, size):
        noise[place] += phi * noise[place - 1]
    return noise


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.6, 0.8])
def test_it_finds_the_time_of_an_autoregression(phi: float) -> None:
    found = [autocorrelation_time(autoregressive(phi, 5_000, seed)) for seed in range(20)]
    assert np.mean(found) == pytest.approx((1 + phi) / (1 - phi), rel=0.08)


@pytest.mark.parametrize("values", [[1.0] * 40, [1.0, 2.0], [0.0, 1.0] * 20])
def test_it_is_never_below_one(values: list[float]) -> None:
    assert autocorrelation_time(values) == 1.0


def test_few_windows_temper_more() -> None:
    few, many = (tempering(np.tile([0.0, 1.0], size)) for size in (15, 500))
    assert few == pytest.approx(1 + np.sqrt(2 / 30))
    assert 1 < many < few
