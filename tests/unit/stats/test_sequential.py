"""The drift detector: honest when nothing changes, quick when something does, and the same after a restart."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import binom

from trimtab.errors import DataError
from trimtab.stats.correlation_test import CorrelationTest
from trimtab.stats.correlations import ENTRY, Correlations
from trimtab.stats.evidence import calibrate, power_bets, smoothed_ranks
from trimtab.stats.holdback import WINDOWS as HELD_BACK
from trimtab.stats.profile import ColumnProfile, profile, profile_matrix
from trimtab.stats.schemes import BELOW, OTHER, Bins, CategoryBins, NumericBins
from trimtab.stats.score import score
from trimtab.stats.sequential import DriftDetector
from trimtab.stats.size import SizeEffect
from trimtab.stats.smallest import SMALLEST, Smallest
from trimtab.stats.step import DriftStep
from trimtab.stats.tail import tail_p
from trimtab.stats.window_pool import WindowPool

NAMES = ("x", "y", "steps", "kind")
CHANCES = (0.5, 0.3, 0.15, 0.05)
Window = dict[str, ColumnProfile]


def matrix(random: np.random.Generator, rows: int = 300) -> np.ndarray:
    """Rows of two numbers, a count and a category; each window has an effect of its own, as real days have."""
    x = random.normal(size=(rows, 4))
    x[:, 0] += 0.1 * random.normal()
    x[:, 2] = random.integers(0, 5, rows)
    x[:, 3] = random.choice(4, rows, p=CHANCES)
    return x


def schemes_for(random: np.random.Generator) -> dict[str, Bins]:
    """Schemes from many windows."""
    many = np.concatenate([matrix(random) for _ in range(20)])
    numbers = {name: NumericBins.from_reference(many[:, i]) for i, name in enumerate(NAMES[:3])}
    return {**numbers, "kind": CategoryBins.from_reference(many[:, 3])}


def profiled(x: np.ndarray, schemes: dict[str, Bins]) -> Window:
    """The profile of one window."""
    columns = dict(zip(NAMES, profile_matrix(x, [schemes[name] for name in NAMES]), strict=True))
    return columns | {ENTRY: Correlations(schemes).profile(dict(zip(NAMES, x.T, strict=True)))}


class Stream:
    """A fitted detector, and windows like those of its reference."""

    def __init__(self, seed: int, *, windows: int = 40, smallest: Smallest = SMALLEST) -> None:
        self.random = np.random.default_rng(seed)
        self.schemes = schemes_for(self.random)
        self.reference = [profiled(matrix(self.random), self.schemes) for _ in range(windows)]
        self.detector = DriftDetector.fit(self.reference, schemes=self.schemes, smallest=smallest)

    def window(self, *, rows: int = 300) -> Window:
        """A window in which nothing changed."""
        return profiled(matrix(self.random, rows), self.schemes)

    def steps(self, windows: Sequence[Window]) -> list[DriftStep]:
        """What the detector says of each."""
        return [self.detector.step(window) for window in windows]


def test_nothing_changes_few_alarms() -> None:
    # given 40 streams of exchangeable windows
    told = [Stream(seed) for seed in range(40)]
    steps = [stream.steps([stream.window() for _ in range(40)]) for stream in told]
    # then p is honest at every level (99.9 % bound of the binomial), and p_seq over the whole stream
    p = np.array([step.p for stream in steps for step in stream])
    for alpha in (0.01, 0.05, 0.2):
        assert (p <= alpha).sum() <= binom.ppf(0.999, p.size, alpha)
    smallest = np.array([min(step.p_seq for step in stream) for stream in steps])
    assert (smallest < 0.05).sum() <= binom.ppf(0.999, 40, 0.05)
    assert not (smallest < 0.01).any()


@pytest.mark.parametrize("rows", [170, 1_000])
def test_traffic_may_rise_and_fall(rows: int) -> None:
    told = [Stream(seed) for seed in range(10)]
    steps = [stream.steps([stream.window(rows=rows) for _ in range(40)]) for stream in told]
    p = np.array([step.p for stream in steps for step in stream])
    assert (p <= 0.05).sum() <= binom.ppf(0.999, p.size, 0.05)
    assert min(step.p_seq for stream in steps for step in stream) > 0.05


@pytest.mark.parametrize("change", ["shift", "spread", "category", "missing", "unit", "some units"])
def test_a_change_is_seen_in_time_and_named(change: str) -> None:
    stream = Stream(100)
    stream.steps([stream.window() for _ in range(15)])
    changed = []
    for _ in range(6):
        x = matrix(stream.random, 600)
        chosen = stream.random.random(600)
        match change:
            case "shift":
                x[:, 1] += 0.4
            case "spread":
                x[:, 1] *= 1.8
            case "category":
                x[chosen < 0.25, 3] = 3
            case "missing":
                x[chosen < 0.2, 1] = np.nan
            case "unit":
                x[:, 1] *= 100
            case "some units":
                x[chosen < 0.04, 1] = 1e4
        changed.append(profiled(x, stream.schemes))
    steps = stream.steps(changed)
    column = "kind" if change == "category" else "y"
    assert all(step.p < 0.01 for step in steps)
    assert steps[-1].p_seq < 0.05
    assert all(step.top[0] == column and column in step.named for step in steps)
    assert column in steps[-1].reason
    assert re.search(r"against \d+ reference windows(:| and \d+ later windows? without drift:)", steps[-1].reason)


@pytest.mark.parametrize("shift", [0.17, -0.17])
def test_a_small_lasting_shift_is_seen_although_hardly_a_window_shows_it(shift: float) -> None:
    stream = Stream(101)
    stream.steps([stream.window() for _ in range(15)])
    shifted = []
    for _ in range(20):
        x = matrix(stream.random)
        x[:, 1] += shift
        shifted.append(profiled(x, stream.schemes))
    steps = stream.steps(shifted)
    assert np.mean([step.p < 0.01 for step in steps]) < 0.7
    assert min(step.p_seq for step in steps) < 0.05


def test_one_odd_window_is_not_enough_for_the_sequential_p() -> None:
    stream = Stream(111)
    step = stream.detector.step(profiled(np.full((300, 4), 1e9), stream.schemes))
    assert step.p < 1e-6
    assert step.p_seq == 1
    assert min(later.p_seq for later in stream.steps([stream.window() for _ in range(20)])) > 0.05


def test_the_first_step_equals_the_formula() -> None:
    # given a detector for which no change is too small
    stream = Stream(112, smallest=Smallest(sd=0, share=0, correlation=0))
    window, state = stream.window(), stream.detector.state()
    step = stream.detector.step(window)
    table = WindowPool(stream.schemes)
    table.restore(state["table"])
    encoded = table.encode(window)
    found = score(table.cells_with(encoded), SizeEffect.from_state(state["effect"]))
    others, last = found.distance[:-1], found.distance[-1]
    p = [tail_p(found.largest[:-1], found.largest[-1]), tail_p(others, last, floor=0.1)]
    rank = smoothed_ranks(found.signed[:-1], found.signed[-1], np.random.default_rng((0, 0)).random(6))
    rows, y = table.transforms()
    test = CorrelationTest.from_state(table.correlations, state["correlations"])
    assert encoded.sums is not None
    last_y = table.correlations.transforms(encoded.sums, encoded.rows)
    pairs = test.scores(np.append(rows, encoded.rows), np.vstack([y, last_y]))
    by_pair = tail_p(pairs[:-1], pairs[-1])
    bets = [
        *(calibrate(np.maximum(value, 1 / 410)) for value in p),
        power_bets(2 * np.minimum(rank, 1 - rank)),
        calibrate(np.maximum([by_pair], 1 / 410)),
    ]
    tempers = [np.array(tau) for tau in state["evidence"]["tempers"]]
    means = [float((e ** (1 / tau)).mean()) for e, tau in zip(bets, tempers, strict=True)]
    assert [step.score, step.p] == [float(found.largest[-1]), min(1.0, float(p[0]) / 0.8, float(by_pair) / 0.2)]
    assert step.correlation is not None
    assert step.correlation.p == by_pair
    stakes = stream.detector.state()["evidence"]["stakes"]
    assert [float(np.mean(np.sum(stake, axis=0))) for stake in stakes] == pytest.approx(means)
    total = 0.36 * means[0] + 0.18 * means[1] + 0.36 * means[2] + 0.1 * means[3]
    assert stream.detector.state()["evidence"]["weights"] == [0.36, 0.18, 0.36, 0.1]
    assert step.p_seq == min(1.0, 100 / total)


def related(random: np.random.Generator, r: float, rows: int = 500) -> np.ndarray:
    """Rows as `matrix` gives them, except that x and y have correlation r: no column alone shows it."""
    x = matrix(random, rows)
    x[:, 0] = random.normal(size=rows)
    x[:, 1] = r * x[:, 0] + np.sqrt(1 - r * r) * random.normal(size=rows)
    return x


def test_a_change_of_correlation_alone_is_seen_and_named() -> None:
    random = np.random.default_rng(5)
    schemes = schemes_for(random)
    reference = [profiled(related(random, 0.6), schemes) for _ in range(40)]
    detector = DriftDetector.fit(reference, schemes=schemes)
    quiet = [detector.step(profiled(related(random, 0.6), schemes)) for _ in range(15)]
    assert min(step.p_seq for step in quiet) > 0.05
    steps = [detector.step(profiled(related(random, 0.0), schemes)) for _ in range(8)]
    assert steps[-1].p_seq < 0.05
    assert all(step.p < 0.01 and set(step.top[:2]) == {"x", "y"} for step in steps)
    assert steps[0].correlation is not None
    assert steps[0].correlation.columns == ("x", "y")
    assert steps[0].correlation.correlation == pytest.approx(0, abs=0.15)
    assert "the correlation of x and y is" in steps[0].reason


def test_windows_without_sums_of_correlations_are_judged_by_their_columns() -> None:
    stream = Stream(113)
    bare = [{name: window[name] for name in NAMES} for window in stream.reference]
    older = DriftDetector.fit(bare, schemes=stream.schemes)
    window = stream.window()
    assert older.step(window).correlation is None
    assert stream.detector.step({name: window[name] for name in NAMES}).correlation is None
    assert stream.detector.step(window).correlation is not None
    # a small window without them, merged with one that has them, has none
    stream.detector.step({name: stream.window(rows=100)[name] for name in NAMES})
    assert stream.detector.step(stream.window(rows=250)).correlation is None


def test_a_lasting_change_below_the_smallest_one_raises_no_alarm() -> None:
    # given windows of so many rows that a shift of .03 sd is sure
    random = np.random.default_rng(7)
    schemes = schemes_for(random)

    def window(shift: float) -> Window:
        x = random.normal(size=(20_000, 4))
        x[:, 3] = random.choice(4, 20_000, p=CHANCES)
        x[:, 1] += shift
        return profiled(x, schemes)

    reference = [window(0) for _ in range(40)]
    strict = DriftDetector.fit(reference, schemes=schemes, smallest=Smallest(sd=0, share=0, correlation=0))
    usual = DriftDetector.fit(reference, schemes=schemes)
    shifted = [window(0.03) for _ in range(15)]
    assert min(strict.step(found).p_seq for found in shifted) < 0.05
    steps = [usual.step(found) for found in shifted]
    assert min(step.p_seq for step in steps) == 1
    assert not any(step.named for step in steps)
    # a shift that counts is seen as ever
    assert [usual.step(window(0.2)).p < 0.01 for _ in range(4)] == [True] * 4


def test_evidence_of_a_change_that_is_over_is_gone_30_windows_later() -> None:
    stream = Stream(114)
    stream.steps([stream.window() for _ in range(7)])
    changed = []
    for _ in range(30):
        x = matrix(stream.random)
        x[:, 1] += 1
        changed.append(profiled(x, stream.schemes))
    assert stream.steps(changed)[-1].p_seq < 0.001
    after = [step.p_seq for step in stream.steps([stream.window() for _ in range(60)])]
    assert after[0] < 0.05
    assert min(after[30:]) > 0.05


def test_a_category_of_one_reference_window_is_unseen_for_that_window_alone() -> None:
    frequent = [f"c{number}" for number in range(31)]
    scheme = CategoryBins.from_reference([*frequent, *frequent, "rare"], windows=[*[0] * 31, *[1] * 31, 1])
    table = WindowPool({"kind": scheme})
    window = {"kind": profile(["rare", "c1"], scheme)}
    counts = {reference: table.encode(window, reference=reference).counts[0] for reference in (True, False)}
    assert (counts[True][BELOW], counts[True][OTHER]) == (1, 0)
    assert (counts[False][BELOW], counts[False][OTHER]) == (0, 1)


def test_effect_sizes_tell_how_much_changed() -> None:
    stream = Stream(102)
    x = matrix(stream.random, 5_000)
    x[:, 1] += 0.5
    x[:1_000, 2] = np.nan
    step = stream.detector.step(profiled(x, stream.schemes))
    shifted, thinned = step.column("y"), step.column("steps")
    assert shifted.wasserstein_sd == pytest.approx(0.5, rel=0.15)
    assert shifted.share_moved == pytest.approx(0.197, abs=0.03)
    assert shifted.psi > 0.1
    assert thinned.missing == 0.2
    assert thinned.share_moved == pytest.approx(0.2, abs=0.03)
    assert step.share_moved == max(column.share_moved for column in step.columns)
    assert step.wasserstein_sd == shifted.wasserstein_sd
    assert step.column("kind").wasserstein_sd is None
    assert (step.n, step.m) == (5_000, 40)
    with pytest.raises(KeyError):
        step.column("absent")


def test_a_category_never_seen_is_gross() -> None:
    stream = Stream(103)
    x = matrix(stream.random, 1_000)
    x[:50, 3] = 9
    step = stream.detector.step(profiled(x, stream.schemes))
    assert step.column("kind").gross == 0.05
    assert "kind" in step.named


def test_gross_rows_are_tempered_at_least_as_their_column_and_the_median_one() -> None:
    # given windows whose x drifts slowly up and down, and no gross row: spells of those cannot be told from the past
    random = np.random.default_rng(6)
    schemes, level, reference = schemes_for(random), 0.0, []
    for _ in range(60):
        level = 0.9 * level + 0.2 * random.normal()
        x = matrix(random)
        x[:, 0] += level
        reference.append(profiled(x, schemes))
    tempers = DriftDetector.fit(reference, schemes=schemes).state()["evidence"]["tempers"][1]
    distance, gross = np.array(tempers[:4]), np.array(tempers[4:])
    assert distance.max() > 2
    assert (gross == np.maximum(distance, np.median(distance))).all()


@pytest.mark.parametrize("after", [0, 1, 12, 23])
def test_a_restart_changes_nothing(after: int) -> None:
    # given a stream that is quiet, has a small window, then drifts
    stream = Stream(104)
    windows = [stream.window() for _ in range(22)]
    windows.insert(12, stream.window(rows=40))
    for _ in range(5):
        x = matrix(stream.random)
        x[:, 0] += 1
        windows.append(profiled(x, stream.schemes))
    whole = DriftDetector.from_state(json.loads(json.dumps(stream.detector.state(), allow_nan=False)))
    # when one of two detectors is stored as JSON after some windows, and read back
    before = stream.steps(windows[: after + 1])
    again = DriftDetector.from_state(json.loads(json.dumps(stream.detector.state(), allow_nan=False)))
    told = [*before, *(again.step(window) for window in windows[after + 1 :])]
    # then every figure is the same, bit for bit, and so is what they know
    assert [asdict(step) for step in told] == [asdict(whole.step(window)) for window in windows]
    assert again.state() == whole.state()


def test_small_windows_are_judged_with_the_next_one() -> None:
    stream = Stream(105)
    small, next_one = stream.window(rows=100), stream.window(rows=250)
    held, judged = stream.steps([small, next_one])
    assert (held.tested, held.p, held.n, held.columns) == (False, 1.0, 100, ())
    assert held.reason == "100 rows, 150 are needed: held until the next window"
    assert (judged.tested, judged.n) == (True, 350)


def test_small_reference_windows_are_merged() -> None:
    stream = Stream(106, windows=5)
    reference = [stream.window(rows=rows) for rows in (300, 50, 300, 300, 60)]
    assert DriftDetector.fit(reference, schemes=stream.schemes).reference_windows == 3


def test_the_pool_grows_after_quarantine_and_not_during_an_alarm() -> None:
    stream = Stream(107)
    quiet = stream.steps([stream.window() for _ in range(HELD_BACK + 5)])
    assert [step.m for step in quiet] == [40] * (HELD_BACK + 1) + [41, 42, 43, 44]
    drifting = []
    for _ in range(12):
        x = matrix(stream.random)
        x[:, :2] += 2
        drifting.append(profiled(x, stream.schemes))
    steps = stream.steps(drifting)
    first = next(place for place, step in enumerate(steps) if step.p_seq < 0.05)
    assert len({step.m for step in steps[first + 1 :]}) == 1


def test_few_reference_windows_are_told_of() -> None:
    few, enough = Stream(108, windows=12), Stream(108, windows=30)
    told = few.detector.step(few.window())
    assert not told.enough_reference
    assert "only 12 reference windows, 30 are needed to act" in told.reason
    assert enough.detector.step(enough.window()).enough_reference


def test_category_columns_alone_are_enough() -> None:
    random = np.random.default_rng(0)
    scheme = CategoryBins.from_reference(random.choice(4, 5_000, p=CHANCES))

    def window(chances: tuple[float, ...]) -> Window:
        return {"kind": profile_matrix(random.choice(4, (500, 1), p=chances).astype(float), [scheme])[0]}

    detector = DriftDetector.fit([window(CHANCES) for _ in range(30)], schemes={"kind": scheme})
    assert detector.step(window(CHANCES)).p > 0.01
    steps = [detector.step(window((0.2, 0.3, 0.15, 0.35))) for _ in range(6)]
    assert steps[-1].p_seq < 0.05


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    stream = Stream(109)
    window, before = stream.window(), stream.detector.state()
    other = {name: bins for name, bins in schemes_for(np.random.default_rng(1)).items() if name != "kind"}
    wrong = {
        "no profile of column 'kind'": {name: window[name] for name in NAMES[:3]},
        "was profiled with scheme": window | {"x": profile_matrix(np.zeros((300, 1)), [other["x"]])[0]},
        "different row counts": window | {"x": stream.window(rows=9)["x"]},
    }
    for message, broken in wrong.items():
        with pytest.raises(DataError, match=message):
            stream.detector.step(broken)
    assert stream.detector.state() == before
    assert stream.detector.step({**window, "another": window["x"]}).tested


def test_what_cannot_be_fitted_is_refused() -> None:
    stream = Stream(110, windows=5)
    with pytest.raises(DataError, match="2 reference windows, expected 30 or more"):
        DriftDetector.fit(stream.reference[:2], schemes=stream.schemes)
    with pytest.raises(DataError, match="0 reference windows"):
        DriftDetector.fit([], schemes=stream.schemes)
    with pytest.raises(DataError, match="at least one column"):
        DriftDetector.fit(stream.reference, schemes={})
    with pytest.raises(DataError, match="horizon is 0 windows"):
        DriftDetector.fit(stream.reference, schemes=stream.schemes, horizon=0)
