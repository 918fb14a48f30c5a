"""Mistakes by segment: the worst one is named, the search is corrected, and a restart changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from trimtab.control.cause import Cause
from trimtab.control.drift_reasons import drift_reasons
from trimtab.monitoring.detection.segments import MOST, SegmentDetectors, of_effect, segment_excess
from trimtab.monitoring.reference import Reference, build_reference
from trimtab.policy.model import Policy
from trimtab.records.monitoring import WindowReport
from trimtab.stats.schemes import CategoryBins
from trimtab.testing.streams import NAMES, Day, World, play, truth
from unit.monitoring.monitor_bench import DAYS, POLICY, Bench, content, lowest

CODES = 5


@dataclass(frozen=True, kw_only=True)
class Coded(World):
    """A world whose fourth column is a code from 0 to 4; `wrong` is the share of inverted labels of code 2."""

    wrong: float = 0.0

    def day(self, number: int) -> Day:
        day, rng = super().day(number), np.random.default_rng((9, self.seed, number))
        X = day.X.copy()
        X[:, 3] = rng.integers(0, CODES, len(X))
        turned = (X[:, 3] == 2) & (rng.random(len(X)) < self.wrong)
        return replace(day, X=X, y=np.where(turned, 1 - day.y, day.y))


@cache
def reference(*, categories: tuple[str, ...] = ("hour",)) -> Reference:
    every = [Coded().day(n) for n in range(DAYS)]
    X = np.concatenate([day.X for day in every])
    return build_reference(
        X,
        truth(X),
        np.concatenate([day.y for day in every]),
        np.concatenate([day.times for day in every]),
        NAMES,
        window=POLICY.decide.window,
        task="binary",
        threshold=POLICY.impact.threshold,
        costs=POLICY.impact.cost_for("binary"),
        categories=categories,
    )


def worst(bench: Bench) -> list[Any]:
    return [s for n in range(CODES) for s in bench.signals("concept", subject=f"hour={n}")]


def test_the_excess_of_a_segment_is_the_mean_over_its_rows() -> None:
    bins = CategoryBins.from_reference(np.array([0, 1, 1, 2], np.float32))
    values = np.array([1, 0, 1, np.nan, 7], np.float32)
    found = segment_excess({"code": values}, np.array([1.0, 2.0, 4.0, 8.0, 16.0]), {"code": bins})
    assert found == {"code=1": (2.5, 2), "code=0": (2.0, 1)}


def test_the_reference_holds_the_segments_of_its_windows_and_comes_back() -> None:
    known = reference()
    assert len(known.segments) == DAYS
    assert set(known.segments[0]) == {f"hour={n}" for n in range(CODES)}
    assert sum(rows for _, rows in known.segments[0].values()) == known.labelled[0].rows  # type: ignore[union-attr]  # all are labelled
    assert Reference.from_json(known.to_json()) == known
    assert reference(categories=()).segments == ()
    old = known.to_json().replace(b'"segments":', b'"unknown":')
    assert Reference.from_json(old).segments == ()


def test_a_segment_whose_labels_turn_is_named_while_all_together_look_usual(bench: Bench) -> None:
    play(bench.log, Coded(seed=11), range(DAYS, DAYS + 6))
    play(bench.log, Coded(seed=11, wrong=0.6), range(DAYS + 6, DAYS + 18))
    bench.monitor(known=reference()).step()
    found = sorted(worst(bench), key=lambda s: s.start)
    assert lowest(found[:6]) > 0.05
    assert found[-1].subject == "hour=2"
    assert found[-1].p_seq < 0.05
    assert found[-1].effect["segments"] == CODES
    assert found[-1].value > found[-1].effect["expected"] + 0.05
    window = bench.reports()[-1]
    text = drift_reasons(Cause(window=window, signals=tuple(found[-1:])))
    assert "mistakes of segment hour=2 are more than the model expects" in " ".join(text)
    assert "over 5 segments" in " ".join(text)


def test_a_quiet_stream_names_no_segment(bench: Bench) -> None:
    play(bench.log, Coded(seed=12), range(DAYS, DAYS + 30))
    bench.monitor(known=reference()).step()
    assert len(worst(bench)) == len(bench.signals("concept"))
    assert lowest(worst(bench)) > 0.05


def test_a_restart_after_every_few_days_writes_the_same(bench: Bench, tmp_path: Any) -> None:
    again = Bench(tmp_path / "again")
    again.log = bench.log
    for first in range(DAYS, DAYS + 24, 4):
        play(bench.log, Coded(seed=11, wrong=0.2), range(first, first + 4))
        again.monitor(known=reference()).step()
    bench.monitor(known=reference()).step()
    assert content(again.book) == content(bench.book)
    assert bench.book.find(WindowReport)
    again.book.close()


def test_the_policy_names_the_features_or_none(bench: Bench) -> None:
    play(bench.log, Coded(seed=11), range(DAYS, DAYS + 4))
    decide = POLICY.decide.model_copy(update={"segments": []})
    none: Policy = POLICY.model_copy(update={"decide": decide})
    bench.monitor(policy=none, known=reference()).step()
    assert worst(bench) == []
    assert bench.signals("concept")


def test_the_search_is_bounded_and_leaves_out_segments_with_few_windows_or_rows() -> None:
    rng = np.random.default_rng(1)
    windows = [{f"code={n}": (float(rng.normal()), 10 + n) for n in range(40)} for _ in range(40)]
    for place, window in enumerate(windows):
        window["rare=1"] = (0.0, 4)
        if place < 29:
            window["short=1"] = (0.0, 500)
    found = SegmentDetectors(windows, columns=None, horizon=100, seed=1)
    assert len(found) == MOST
    assert set(of_effect(found.effect(windows[0]))) == {f"code={n}" for n in range(10, 40)}
    assert len(SegmentDetectors(windows, columns=["short", "rare"], horizon=100, seed=1)) == 0
    assert found.step({"code=39": (9.0, 4)}) is None
    step = found.step({"code=39": (9.0, 49), "code=38": (0.0, 48), "code=0": (99.0, 500)})
    assert step is not None
    assert (step.name, step.searched) == ("code=39", MOST)
    assert step.p == min(1.0, MOST * step.step.p)
