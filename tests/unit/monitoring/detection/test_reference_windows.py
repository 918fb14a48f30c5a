"""Which windows are compared with: those of training, the last ones, or those of the same season."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest

from trimtab.monitoring.detection.reference_windows import HELD_BACK, RENEWED_EVERY, ROLLING, Mode, ReferenceWindows
from trimtab.monitoring.detectors import VersionDetectors
from trimtab.monitoring.reference import Reference, build_reference
from trimtab.policy.model import Policy
from trimtab.records.monitoring import Signal
from trimtab.stats.profile import ColumnProfile
from trimtab.testing.judged import signal, window_report
from trimtab.testing.streams import DAY, World, play
from unit.monitoring.monitor_bench import DAYS, POLICY, Bench, content, lowest

NAMES = ("temperature", "rides")
ROWS = 100


def day(number: int, *, seasons: bool = True) -> np.ndarray[Any, Any]:
    """Return a day of a year with seasons: 12 degrees more or less, and the rides that go with it."""
    rng = np.random.default_rng((5, number))
    season = np.sin(2 * np.pi * number / 365.25) if seasons else 0.0
    rows = [12 * season + rng.normal(0, 2) + rng.normal(0, 3, ROWS), rng.poisson(50 + 20 * season, ROWS)]
    return np.column_stack([*rows, np.full(ROWS, 0.5)]).astype(np.float32)


def reference(days: int, *, first: int = 0, seasons: bool = True) -> Reference:
    X = np.concatenate([day(n, seasons=seasons) for n in range(first, first + days)])
    return build_reference(
        X[:, :2],
        X[:, 2],
        np.zeros(len(X)),
        np.repeat(np.arange(first, first + days) * DAY, ROWS),
        NAMES,
        window=DAY,
        task="binary",
        threshold=0.5,
        costs={},
    )


TWO_YEARS = reference(730)


def profiles(known: Reference, numbers: range) -> list[tuple[int, dict[str, ColumnProfile]]]:
    return [(n * DAY, known.profile(day(n))) for n in numbers]


def test_training_stays_what_it_was() -> None:
    known = reference(40)
    found = ReferenceWindows(known, "training")
    assert not any(found.take(profile, start) for start, profile in profiles(known, range(40, 80)))
    assert (found.chosen, found.said) == (known.profiles, "")


def test_rolling_is_the_last_windows_but_for_the_newest() -> None:
    known = reference(80)
    found = ReferenceWindows(known, "rolling")
    assert found.chosen == list(known.profiles[-ROLLING:])
    every = profiles(known, range(80, 80 + 15 * RENEWED_EVERY))
    renewed = [found.take(profile, start) for start, profile in every]
    assert renewed == [(n + 1) % RENEWED_EVERY == 0 for n in range(len(every))]
    assert found.chosen == [profile for _, profile in every][-ROLLING - HELD_BACK : -HELD_BACK]
    assert found.said == "the last 60 but for the newest 10"


def test_the_same_season_is_the_same_weeks_of_every_year_before() -> None:
    found = ReferenceWindows(TWO_YEARS, "same-season")
    days = [start // DAY for start, p in zip(TWO_YEARS.starts, TWO_YEARS.profiles, strict=True) if p in found.chosen]
    assert days == [*range(21), *range(730 - 386, 730 - 344)]
    assert found.said == "of the same weeks a year before"


def test_without_a_year_of_history_training_is_taken_and_said() -> None:
    known = reference(60)
    found = ReferenceWindows(known, "same-season")
    assert found.chosen == known.profiles
    assert found.said == "of training; of the same weeks a year before there are 0, 30 are needed"
    every = profiles(known, range(60, 60 + 330))
    renewed = [start // DAY for start, profile in every if found.take(profile, start)]
    assert renewed[0] == 374, "30 windows of the same season"
    assert found.said == "of the same weeks a year before"


def test_summer_is_a_drift_from_training_in_winter_and_none_from_last_summer() -> None:
    lowest_p: dict[Mode, float] = {}
    modes: tuple[Mode, ...] = ("training", "same-season")
    for mode in modes:
        known = TWO_YEARS if mode == "same-season" else reference(60, first=610)
        detectors = VersionDetectors(known, version=1, horizon=100, mode=mode)
        p = []
        for start, profile in profiles(known, range(730, 800)):
            step = detectors.inputs(profile)
            assert step is not None
            p.append(step.p_seq)
            detectors.finish(profile, start)
        lowest_p[mode] = min(p)
    assert lowest_p["training"] < 0.01
    assert lowest_p["same-season"] > 0.05


def test_a_lasting_change_is_forgotten_by_a_rolling_reference_alone() -> None:
    last = {}
    modes: tuple[Mode, ...] = ("training", "rolling")
    for mode in modes:
        known = reference(60, seasons=False)
        detectors = VersionDetectors(known, version=1, horizon=100, mode=mode)
        p = []
        for n in range(60, 220):
            profile = known.profile((day(n, seasons=False) + np.array([6, 0, 0])).astype(np.float32))
            step = detectors.inputs(profile)
            assert step is not None
            p.append(step.p_seq)
            detectors.finish(profile, n * DAY)
        assert min(p[:20]) < 0.01, "the change is seen"
        last[mode] = p[-1]
    assert last["rolling"] > 0.05
    assert last["training"] < 0.05


@pytest.mark.parametrize("mode", ["rolling", "same-season"])
def test_the_state_continues_as_if_there_had_been_no_restart(mode: Mode) -> None:
    known = reference(60)
    one, other = (VersionDetectors(known, version=1, horizon=100, mode=mode) for _ in range(2))
    for start, profile in profiles(known, range(60, 100)):
        again = VersionDetectors(known, version=1, horizon=100, mode=mode)
        again.load(json.loads(json.dumps(other.state())))
        other = again
        assert one.inputs(profile) == other.inputs(profile)
        assert one.usual_inputs == other.usual_inputs
        assert one.finish(profile, start) == other.finish(profile, start)
    assert one.state() == other.state()


def rolling_policy() -> Policy:
    decide = POLICY.decide.model_copy(update={"reference": "rolling"})
    return POLICY.model_copy(update={"decide": decide})


def test_the_monitor_says_what_it_compares_with_and_a_restart_writes_the_same(bench: Bench, tmp_path: Any) -> None:
    again = Bench(tmp_path / "again")
    again.log = bench.log
    for first in range(DAYS, DAYS + 24, 6):
        play(bench.log, World(seed=11), range(first, first + 6))
        again.monitor(policy=rolling_policy()).step()
    bench.monitor(policy=rolling_policy()).step()
    data = bench.signals("data")
    assert {s.compared_with for s in data} == {"the last 60 but for the newest 10"}
    assert {s.reference_windows for s in data} == {60}
    assert lowest(data) > 0.05
    assert content(again.book) == content(bench.book)
    again.book.close()


def test_signals_of_earlier_releases_open() -> None:
    old = msgspec.to_builtins(signal(window_report(), "data"))
    del old["compared_with"]
    assert msgspec.convert(old, Signal).compared_with == ""
