"""The table of smallest effects, and that the exact test finds what it says."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.errors import DataError
from trimtab.stats.paired.pass_rates import bonett_price, mcnemar
from trimtab.stats.paired.smallest_effects import (
    smallest_effect_passes,
    smallest_effect_scores,
    smallest_effect_unpaired,
    smallest_margin_passes,
)


@pytest.mark.parametrize(
    ("n", "points", "unpaired", "scores"),
    [
        (50, (None, None, 16.3, 19.9), 19.9, (0.035, 0.070, 0.105)),
        (200, (4.1, 5.8, 8.1, 10.0), 9.9, (0.018, 0.035, 0.053)),
        (1_000, (1.8, 2.6, 3.6, 4.4), 4.4, (0.008, 0.016, 0.024)),
    ],
)
def test_the_table(n: int, points: tuple[float | None, ...], unpaired: float, scores: tuple[float, ...]) -> None:
    for differing, expected in zip((0.05, 0.1, 0.2, 0.3), points, strict=True):
        found = smallest_effect_passes(n, differing)
        assert found is None if expected is None else found == pytest.approx(expected / 100, abs=0.0006)
    assert smallest_effect_unpaired(n, 0.8) == pytest.approx(unpaired / 100, abs=0.0006)
    assert [smallest_effect_scores(n, sd) for sd in (0.1, 0.2, 0.3)] == pytest.approx(scores, abs=0.0006)


def test_mcnemar_finds_the_smallest_effect_in_eight_of_ten_sets() -> None:
    effect = smallest_effect_passes(200, 0.2)
    assert effect is not None
    shares = [(0.2 + effect) / 2, (0.2 - effect) / 2, 0.8]
    drawn = np.random.default_rng(0).multinomial(200, shares, size=2_000)
    found = np.mean([mcnemar(int(b), int(c)) <= 0.05 for b, c, _ in drawn])
    assert found == pytest.approx(0.8, abs=3 * (0.16 / 2_000) ** 0.5)


@pytest.mark.parametrize("n", [50, 200, 1_000])
def test_an_equal_prompt_is_shown_not_worse_at_the_smallest_margin_in_eight_of_ten_sets(n: int) -> None:
    margin = smallest_margin_passes(n, 0.1)
    drawn = np.random.default_rng(0).multinomial(n, [0.05, 0.05, 0.9], size=2_000)
    passed = np.mean([bonett_price(n, int(b), int(c)).low > -margin for b, c, _ in drawn])
    assert passed == pytest.approx(0.8, abs=0.03)


def test_large_sets_take_no_longer() -> None:
    assert smallest_effect_passes(1_000_000, 0.5) == pytest.approx(2.49 * (0.5 / 1_000_000) ** 0.5, abs=0.0002)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="expected a value above 0"):
        smallest_effect_passes(50, 0)
    with pytest.raises(DataError, match="0 items"):
        smallest_effect_scores(0, 0.1)
    with pytest.raises(DataError, match=r"power 0\.3"):
        smallest_margin_passes(50, 0.1, power=0.3)
