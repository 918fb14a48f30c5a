"""`python -m benchmarks.drift.series`: false alarms and power of series of one value a window, by autocorrelation.

100 streams each of 130 days: the first 30 are the reference. Both directions are tested, as for the volume of traffic.
For power the level falls by four standard deviations from day 41 on. About ten minutes of CPU.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trimtab.monitoring.series import Series, SeriesStep
from trimtab.units import MICROS

DAY = MICROS["d"]
SEEDS = range(1000, 1100)
DAYS, CHANGE, LOOKS = 130, 40, 30
CORRELATIONS = (0.0, 0.3, 0.6)


def stream(seed: int, correlation: float) -> npt.NDArray[np.float64]:
    """Return an AR(1) stream of standard deviation 1."""
    noise = np.random.default_rng(seed).normal(size=DAYS)
    values = noise.copy()
    for day in range(1, DAYS):
        values[day] = correlation * values[day - 1] + noise[day]
    scaled: npt.NDArray[np.float64] = values * np.sqrt(1 - correlation**2)
    return scaled


def run(values: npt.NDArray[np.float64], seed: int) -> list[SeriesStep]:
    """Return the judgement of each day."""
    series = Series(str(seed), direction="both", window=DAY, horizon=100)
    return [series.step(day * DAY, float(value)) for day, value in enumerate(values)]


def main() -> None:
    """Print one line for each autocorrelation."""
    for correlation in CORRELATIONS:
        lowest, seen = [], []
        for seed in SEEDS:
            values = 100 + 5 * stream(seed, correlation)
            lowest.append(min(step.p_seq for step in run(values, seed) if step.p_seq is not None))
            changed = values[: CHANGE + LOOKS].copy()
            changed[CHANGE:] -= 20
            after = run(changed, seed)[CHANGE:]
            seen.append(next((n for n, step in enumerate(after, 1) if (step.p_seq or 1) < 0.05), LOOKS + 1))
        alarms, severe = (sum(value < limit for value in lowest) for limit in (0.05, 0.01))
        print(
            f"autocorrelation {correlation}: of {len(lowest)} streams without a change {alarms} fell below 0.05, "
            f"{severe} below 0.01; a fall of 4 sd was seen after {np.median(seen):g} days in the median, "
            f"not within {LOOKS} days in {sum(n > LOOKS for n in seen)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
