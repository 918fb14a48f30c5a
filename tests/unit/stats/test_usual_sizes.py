"""Effects are read against those of ordinary windows, column by column."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.stats.profile import ColumnProfile, profile
from trimtab.stats.schemes import Bins, CategoryBins, NumericBins
from trimtab.stats.sequential import DriftDetector
from trimtab.stats.usual_sizes import UsualEffects

DAYS, ROWS = 40, 200


def day(number: int, *, shift: float = 0.0) -> dict[str, np.ndarray]:
    """Return one day: a column whose mean jumps from day to day, a steady one, the weekday, a category."""
    rng = np.random.default_rng((3, number))
    return {
        "jumps": rng.normal(rng.normal(0, 2), 1, ROWS),
        "steady": rng.normal(shift, 1, ROWS),
        "weekday": np.full(ROWS, float(number % 7)),
        "code": rng.integers(0, 4, ROWS).astype(np.float32),
    }


EVERY = [day(n) for n in range(DAYS)]
SCHEMES: dict[str, Bins] = {
    name: CategoryBins.from_reference(np.concatenate([d[name] for d in EVERY]), windows=np.repeat(range(DAYS), ROWS))
    if name == "code"
    else NumericBins.from_reference(np.concatenate([d[name] for d in EVERY]))
    for name in EVERY[0]
}


def profiled(values: dict[str, np.ndarray]) -> dict[str, ColumnProfile]:
    return {name: profile(values[name], SCHEMES[name]) for name in SCHEMES}


REFERENCE = [profiled(values) for values in EVERY]
USUAL = UsualEffects.fit(REFERENCE, SCHEMES)


def test_a_column_that_jumps_every_day_has_large_usual_effects_and_a_steady_one_small_ones() -> None:
    jumps, steady = USUAL.high["jumps"], USUAL.high["steady"]
    assert jumps.psi > 1 > steady.psi
    assert jumps.share_moved > 0.5 > 0.2 > steady.share_moved
    assert USUAL.median["weekday"].share_moved > 0.5
    assert USUAL.high["code"].wasserstein_sd is None
    assert USUAL.median["jumps"].psi <= jumps.psi


def test_ordinary_days_are_as_far_as_the_reference_windows_and_a_shift_is_further() -> None:
    detector = DriftDetector.fit(REFERENCE, schemes=SCHEMES)
    ordinary = [detector.step(profiled(day(n))) for n in range(DAYS, DAYS + 40)]
    ratios = [USUAL.of_window(step.columns) for step in ordinary]
    assert np.mean(np.array(ratios) > 1.5) <= 0.1
    assert np.mean([step.psi > 0.25 for step in ordinary]) > 0.9, "what the usual thresholds say of the same days"
    shifted = detector.step(profiled(day(DAYS + 40, shift=1.0)))
    assert USUAL.of_window(shifted.columns) > 2
    furthest = USUAL.furthest(shifted.columns)
    assert furthest is not None
    assert furthest.name == "steady"


def test_sizes_are_what_a_signal_holds() -> None:
    sizes = USUAL.sizes("steady")
    assert set(sizes) == {
        f"{size}_{which}" for size in ("max_share_moved", "psi", "wasserstein_sd") for which in ("usual", "high")
    }
    assert sizes["psi_high"] == USUAL.high["steady"].psi
    assert USUAL.sizes("code")["wasserstein_sd_usual"] is None
    assert USUAL.sizes("unknown") == {}


@pytest.mark.parametrize("windows", [0, 2])
def test_too_few_windows_say_nothing(windows: int) -> None:
    found = UsualEffects.fit(REFERENCE[:windows], SCHEMES)
    step = DriftDetector.fit(REFERENCE, schemes=SCHEMES).step(profiled(day(DAYS)))
    assert found.of_window(step.columns) == 0.0
    assert found.sizes("steady") == {}
    assert UsualEffects.fit(REFERENCE, {}).median == {}
