"""`python -m benchmarks.intervals [--trials N] [--days 10 14 30]`: the coverage of the gates' 95 % intervals.

Exit code 1 when a metric or its difference from the champion is covered in significantly fewer than 93 % of the trials.
With `--peer` the percentile bootstrap of days, which most libraries offer, is measured on the same trials, at ten times
the cost.
"""

from __future__ import annotations

import argparse
import math
import sys

import numpy as np

from benchmarks.intervals.days import WORLDS, Array, Holdout, World
from trimtab.metric_catalog import BY_TASK, METRICS
from trimtab.stats.intervals import cluster_interval, difference_interval
from trimtab.stats.metrics import FORMULAS

BAR = 0.93
DAYS = (10, 14, 30)
THRESHOLD = 0.3
RESAMPLES = 300


def main() -> int:
    """Measure every kind of day; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.intervals")
    parser.add_argument("--trials", type=int, default=200, help="holdouts of each kind and length")
    parser.add_argument("--days", type=int, nargs="+", default=DAYS, help="lengths of the holdout")
    parser.add_argument("--peer", action="store_true", help="measure the percentile bootstrap as well")
    asked = parser.parse_args()
    print(f"coverage of 95 % intervals in {asked.trials} trials; bar {BAR:.0%}, where it is promised\n")
    print(f"{'days':>4}  {'kind':<34} {'metric':<10} {'Trimtab':>8} {'gain':>8} {'percentile':>11}")
    held = True
    for world in WORLDS:
        for days in asked.days:
            for metric in BY_TASK[world.task].summary:
                held &= _line(world, metric, days, asked.trials, peer=asked.peer)
    return 0 if held else 1


def _line(world: World, metric: str, days: int, trials: int, *, peer: bool) -> bool:
    """Measure one metric, print it, and return False if the limit is missed significantly."""
    function, whole = FORMULAS[metric].function, world.truth()
    truth = function(whole.y, whole.model, THRESHOLD)
    gain = truth - function(whole.y, whole.champion, THRESHOLD)
    random, found = np.random.default_rng(days), np.zeros(3)
    for seed in range(trials):
        one = world.draw(random, days)
        alone = cluster_interval(
            lambda rows, one=one: function(one.y[rows], one.model[rows], THRESHOLD),  # type: ignore[misc]
            len(one.y),
            clusters=one.day,
            scale=METRICS[metric].scale,
            seed=seed,
        )
        paired = difference_interval(
            lambda y, score: function(y, score, THRESHOLD), one.y, one.model, one.champion, clusters=one.day, seed=seed
        )
        low, high = _percentile(one, metric, random, days) if peer else (math.nan, math.nan)
        found += [alone.low <= truth <= alone.high, paired.low <= gain <= paired.high, low <= truth <= high]
    share = found / trials
    doubt = 2 * math.sqrt(BAR * (1 - BAR) / trials)
    held = not world.expected or float(share[:2].min()) >= BAR - doubt
    verdict = "" if world.expected and held else "NOT held" if world.expected else "no promise"
    shown = (
        f"{share[0]:8.1%} {share[1]:8.1%} {share[2]:11.1%}" if peer else f"{share[0]:8.1%} {share[1]:8.1%} {'-':>11}"
    )
    print(f"{days:>4}  {world.name:<34} {metric:<10} {shown}  {verdict}".rstrip(), flush=True)
    return held


def _percentile(one: Holdout, metric: str, random: np.random.Generator, days: int) -> tuple[float, float]:
    """Return the percentile interval of a bootstrap of whole days."""
    rows = np.split(np.arange(len(one.y)), np.flatnonzero(np.diff(one.day)) + 1)
    drawn = [np.concatenate([rows[n] for n in random.integers(0, days, days)]) for _ in range(RESAMPLES)]
    found: Array = np.array([FORMULAS[metric].function(one.y[draw], one.model[draw], THRESHOLD) for draw in drawn])
    low, high = np.nanquantile(found, (0.025, 0.975))
    return float(low), float(high)


if __name__ == "__main__":
    sys.exit(main())
