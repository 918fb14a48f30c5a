"""What raises an alarm, what it costs, and which challenger is the better one."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.definitions.models import Task
from trimtab.monitoring.reference import build_reference
from trimtab.monitoring.verdict import ChallengerVerdict, judge_challenger
from trimtab.policy.reader import parse_policy
from trimtab.testing.streams import DAY, NAMES, Variant, World, play, truth
from unit.monitoring.monitor_bench import DAYS, POLICY, QUIET, VARIANTS, Bench, lowest


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_quiet_stream_raises_no_alarm(bench: Bench, seed: int) -> None:
    play(bench.log, World(seed=seed), range(DAYS, DAYS + 30))
    bench.monitor().step()
    for kind in ("data", "prediction", "quality", "concept"):
        assert lowest(bench.signals(kind)) > 0.05, kind
    money = [s.value for s in bench.signals("kpi")]
    assert abs(np.mean(money)) < 60, "about what the reference lost"


def test_a_shifted_column_raises_the_alarm_of_the_inputs_and_names_the_column(bench: Bench) -> None:
    play(bench.log, World(seed=11), range(DAYS, DAYS + 6))
    play(bench.log, World(seed=11, shift={2: 0.7}), range(DAYS + 6, DAYS + 15))
    bench.monitor().step()
    data = bench.signals("data")
    assert lowest(data[:6]) > 0.05
    assert lowest(data) < 0.01
    assert data[-1].carriers[0] == NAMES[2]
    assert data[-1].reference_windows == DAYS
    assert bench.signals("data", subject=NAMES[2])[-1].effect["wasserstein_sd"] == pytest.approx(0.7, abs=0.2)
    assert lowest(bench.signals("concept")) > 0.05, "the column means nothing: no harm"


def test_turned_labels_raise_the_alarm_of_the_labels_and_cost_money_but_not_of_the_inputs(bench: Bench) -> None:
    play(bench.log, World(seed=11), range(DAYS, DAYS + 6))
    play(bench.log, World(seed=11, flip=0.25), range(DAYS + 6, DAYS + 16))
    bench.monitor().step()
    concept = bench.signals("concept")
    assert lowest(concept[:6]) > 0.05
    assert lowest(concept) < 0.01
    assert lowest(bench.signals("data")) > 0.05
    assert np.mean([s.value for s in bench.signals("kpi")[7:]]) > 100


def test_missing_values_raise_the_alarm_of_quality(bench: Bench) -> None:
    play(bench.log, World(seed=11, shift={3: float("nan")}), range(DAYS, DAYS + 6))
    bench.monitor().step()
    assert lowest(bench.signals("quality")) < 0.05
    assert bench.signals("quality")[-1].value == pytest.approx(0.25)


def test_a_regression_is_judged_on_its_own_terms(bench: Bench) -> None:
    task: Task = "regression"
    every = [QUIET.day(n) for n in range(DAYS)]
    X, y, times = (np.concatenate(part) for part in zip(*((d.X, d.y, d.times) for d in every), strict=True))
    known = build_reference(
        X, truth(X), y, times, NAMES, window=DAY, task=task, threshold=0.5, costs={"absolute_error": 2.0}
    )
    policy = parse_policy(
        "project: p\nimpact: { cost: { absolute_error: 2 } }\ndecide: { labels_mature_after: 1d }\n"
        "rollout: { promote_when: { metric: mape } }\n"
    )
    play(bench.log, World(seed=11), range(DAYS, DAYS + 4), VARIANTS)
    bench.monitor(policy=policy, known=known).step()
    matured = bench.reports(version=2)[0].metrics
    assert {"rmse", "mae", "r2", "mape", "paired_rmse_gain", "paired_mape_gain", "absolute_error_mean"} <= set(matured)
    assert "log_loss" not in matured
    assert lowest(bench.signals("concept")) > 0.05
    assert abs(np.mean([s.value for s in bench.signals("kpi")])) < 30


def test_a_better_challenger_is_promoted_and_an_equal_one_is_not(bench: Bench) -> None:
    variants = (
        Variant(version=1, worse=True),
        Variant(version=2, role="challenger"),
        Variant(version=3, role="shadow", worse=True),
    )
    play(bench.log, World(seed=11), range(DAYS, DAYS + 24), variants)
    bench.monitor().step()

    def look(challenger: int) -> ChallengerVerdict:
        when = POLICY.rollout.promote_when
        return judge_challenger(
            bench.book, model="delay", champion=1, challenger=challenger, policy=when, metric="log_loss"
        )

    assert (look(2).verdict, look(3).verdict) == ("promote", "continue")
    assert (look(2).windows, look(3).windows) == (20, 22), "the first look that decides counts"
    assert look(3).mean == 0.0
    assert "paired_rows" not in bench.reports(version=1)[0].metrics
