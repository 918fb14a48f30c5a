"""Alarms on labels, and promotions of the better of two models, with out-of-sample scores of the flights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import ttest_1samp
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.drift.streams import KINDS, REFERENCE, SEED, Flights, windows
from benchmarks.drift.table import Line, at_least, at_most, share
from trimtab.stats.paired_sequence import compare, window_means
from trimtab.stats.upward_test import UpwardDetector

Floats = npt.NDArray[np.float64]

NUMBERS = ("sched_dep_time", "sched_arr_time", "dep_delay", "distance", "hour", "minute")
QUIET = 50
FLIPPED = 0.1
IID_WITHIN = 4
PEEKS = 100
WINDOW_SD = 0.5


@dataclass(frozen=True)
class Scored:
    """Labels and the out-of-sample scores of two models, [rows]."""

    y: Floats
    champion: Floats
    challenger: Floats


def score(flights: Flights) -> Scored:
    """Train on even days and score odd ones, and the other way round."""
    codes = [np.unique(flights.columns[name], return_inverse=True)[1] for name in ("carrier", "origin", "dest")]
    x = np.column_stack([*(flights.columns[name] for name in NUMBERS), *codes])
    scores = np.empty((2, len(x)))
    for fold in (0, 1):
        held = flights.day % 2 == fold
        for place, iterations in enumerate((60, 40)):
            model = HistGradientBoostingClassifier(max_iter=iterations, random_state=place)
            scores[place, held] = model.fit(x[~held], flights.late[~held]).predict_proba(x[held])[:, 1]
    return Scored(flights.late.astype(np.float64), scores[0], scores[1])


def measure_harm(flights: Flights, scored: Scored, streams: int) -> Iterator[Line]:
    """Yield false alarms on quiet streams, and how soon flipped labels are seen."""
    flip = np.random.default_rng(3).random(scored.y.size) < FLIPPED
    quiet = _excess(scored.y, scored.champion)
    harmed = _excess(np.where(flip, 1 - scored.y, scored.y), scored.champion)
    for kind in KINDS:
        smallest, delays = [], []
        for seed in range(SEED, SEED + streams):
            stream = windows(flights, kind, seed)
            rows = [len(index) for index in stream]
            usual = [float(quiet[index].mean()) for index in stream]
            detector = UpwardDetector.fit(usual[:REFERENCE], rows[:REFERENCE])
            start = detector.state()
            smallest.append(
                min(detector.step(v, n).p_seq for v, n in zip(usual[REFERENCE:], rows[REFERENCE:], strict=True))
            )
            detector = UpwardDetector.from_state(start)
            figures = [
                *usual[: REFERENCE + QUIET],
                *(float(harmed[index].mean()) for index in stream[REFERENCE + QUIET :]),
            ]
            p_seq = [detector.step(v, n).p_seq for v, n in zip(figures[REFERENCE:], rows[REFERENCE:], strict=True)]
            seen = [place + 1 for place, value in enumerate(p_seq[QUIET:]) if value < 0.05]
            delays.append(seen[0] if seen else np.inf)
        yield at_most(f"{kind}: label p_seq < .05 in 100 quiet windows", np.array(smallest) < 0.05, 0.05)
        seen_in = np.array(delays)
        claim = f"{kind}: 10 % of labels flipped, seen within {{}} (median {np.median(seen_in):g})"
        if kind == "iid":
            yield at_least(claim.format(IID_WITHIN), seen_in <= IID_WITHIN, 0.95)
        else:  # how much of a flip shows above the differences between days depends on the model: no bar
            yield Line(claim.format(QUIET), share(float((seen_in <= QUIET).mean())))


def measure_promotion(flights: Flights, scored: Scored, streams: int) -> Iterator[Line]:
    """Yield false promotions with a look after every day, and power; the peer: a t-test on rows, the same looks."""
    rows = (scored.y - scored.champion) ** 2 - (scored.y - scored.challenger) ** 2
    days = window_means(rows, flights.day)
    sd = float(days.std(ddof=1))
    by_day = np.split(rows, np.searchsorted(flights.day, np.arange(1, 365)))
    equal = [_promoted(days - days.mean(), seed) for seed in range(SEED, SEED + streams)]
    better = [_promoted(days - days.mean() + WINDOW_SD * sd, seed) for seed in range(SEED, SEED + streams)]
    peer = [_row_test([day - rows.mean() for day in by_day], seed) for seed in range(SEED, SEED + min(streams, 50))]
    yield at_most("no difference, 100 looks: promoted", equal, 0.05, peer=share(float(np.mean(peer))))
    yield at_least(f"better by {WINDOW_SD} window sd, 100 looks: promoted", better, 0.9)


def _promoted(days: Floats, seed: int) -> bool:
    chosen = np.random.default_rng((4, seed)).choice(days, PEEKS)
    return any(compare(chosen[:look], max_windows=PEEKS).verdict == "promote" for look in range(1, PEEKS + 1))


def _row_test(by_day: list[Floats], seed: int) -> bool:
    order = np.random.default_rng((4, seed)).integers(0, len(by_day), PEEKS)
    rows, ends = np.concatenate([by_day[day] for day in order]), np.cumsum([len(by_day[day]) for day in order])
    return any(ttest_1samp(rows[:end], 0, alternative="greater").pvalue < 0.05 for end in ends[9:])


def _excess(y: Floats, p: Floats) -> Floats:
    return (y - p) ** 2 - p * (1 - p)
