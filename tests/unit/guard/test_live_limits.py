"""What the guard calls broken: not a rumour, and not a hundred times a year by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from trimtab.guard.live_limits import Breach, judge, judge_canary
from trimtab.policy.rollout import RollbackWhen
from trimtab.stats.gateway_counts import LATENCY_BORDERS_US, PROBABILITY_BORDERS, Snapshot, VariantCounts, VariantKey


def limits(**given: Any) -> RollbackWhen:
    return RollbackWhen.model_validate(given)


def seen(*, rows: int, errors: int = 0, slow: int = 0, slow_us: int = 10**6, run: int = 1, **more: Any) -> Snapshot:
    latency = [0] * (len(LATENCY_BORDERS_US) + 1)
    latency[3] = rows - slow
    latency[int(np.searchsorted(LATENCY_BORDERS_US, slow_us))] += slow
    variant = VariantCounts(
        requests=rows, rows=rows, errors=errors, latency=latency, run=run, run_score=0.5, borders=PROBABILITY_BORDERS
    )
    for name, value in more.items():
        setattr(variant, name, value)
    return Snapshot(variants={VariantKey("delay", 2, "champion", True): variant})


def evenly(snapshot: Snapshot) -> list[Snapshot]:
    """Return what was counted look by look, when requests came evenly over ten seconds."""
    stretch = [Snapshot()]
    for part in range(1, 20):
        variants = {
            key: VariantCounts(
                requests=variant.requests * part // 20,
                latency=[count * part // 20 for count in variant.latency],
                late=[count * part // 20 for count in variant.late],
            )
            for key, variant in snapshot.variants.items()
        }
        stretch.append(Snapshot(taken_at=500_000 * part, variants=variants))
    snapshot.taken_at = 10_000_000
    return [*stretch, snapshot]


def breach_of(snapshot: Snapshot, limits: RollbackWhen, before: Sequence[float] = ()) -> Breach | None:
    return judge(evenly(snapshot), "delay", 2, "champion", limits, before)


@pytest.mark.parametrize(
    ("errors", "broken"),
    [(0, False), (2, False), (5, False), (30, True), (100, True)],
)
def test_failures_break_the_limit_when_chance_cannot_explain_them(errors: int, broken: bool) -> None:
    found = breach_of(seen(rows=100, errors=errors), limits(error_rate="2%"))
    assert (found is not None) == broken
    if found is not None:
        assert found.kind == "error"
        assert found.p is not None
        assert found.p < 1e-9
        assert "the limit is 2.00%" in found.reason


def test_few_predictions_are_not_judged() -> None:
    assert breach_of(seen(rows=49, errors=48), limits(error_rate="2%")) is None
    assert breach_of(seen(rows=49, slow=49), limits(p99="50ms")) is None


@pytest.mark.parametrize(("rows", "failed", "broken"), [(9, 9, False), (10, 10, True), (40, 1, False), (40, 10, True)])
def test_a_total_failure_of_ten_requests_is_enough(rows: int, failed: int, broken: bool) -> None:
    found = breach_of(seen(rows=rows, errors=rows, failed=failed), limits(error_rate="2%"))
    assert (found is not None) == broken


@pytest.mark.parametrize(("failed", "broken"), [(1, False), (2, False), (20, True), (60, True)])
def test_the_rows_of_one_request_are_one_failure(failed: int, broken: bool) -> None:
    """Given 60 of 1,000 rows that failed, in one request or in many."""
    found = breach_of(seen(rows=1000, errors=60, failed=failed), limits(error_rate="1%"))
    assert (found is not None) == broken


def test_slow_answers_break_the_limit() -> None:
    assert breach_of(seen(rows=1000, slow=12), limits(p99="50ms")) is None
    found = breach_of(seen(rows=1000, slow=100), limits(p99="50ms"))
    assert found is not None
    assert found.reason.startswith("100 of 1,000 requests took longer than 50 ms")


@pytest.mark.parametrize(("pauses", "found"), [([10], False), ([10, 11], False), ([3, 10], True), ([2, 6, 11], True)])
def test_slowness_of_one_second_is_a_pause_of_the_machine(pauses: list[int], found: bool) -> None:
    # given ten requests a look, and looks at which thirty had waited for the machine
    key, stretch, slow = VariantKey("delay", 2, "champion", True), [Snapshot()], 0
    for part in range(1, 61):
        slow += 30 if part in pauses else 0
        latency = [0] * (len(LATENCY_BORDERS_US) + 1)
        latency[3], latency[-2] = 10 * part, slow
        counts = VariantCounts(requests=10 * part + slow, rows=10 * part + slow, latency=latency)
        stretch.append(Snapshot(taken_at=500_000 * part, variants={key: counts}))
    # then a single pause is no fault of the version's, and one after the other is
    breach = judge(stretch, "delay", 2, "champion", limits(p99="50ms"))
    assert (breach is not None) == found


def test_answers_a_little_under_the_limit_are_not_slow() -> None:
    assert breach_of(seen(rows=1000, slow=900, slow_us=49_000), limits(p99="50ms")) is None


def test_a_constant_output_breaks_the_limit() -> None:
    few = seen(rows=500, run=500, run_inputs=list(range(199)))  # such as a load test that repeats its rows
    assert breach_of(few, limits(constant_output=200)) is None
    found = breach_of(seen(rows=500, run=500, run_inputs=list(range(200))), limits(constant_output=200))
    assert found is not None
    assert found.value == 200
    assert "the last 500 predictions, of 200 different inputs, are all 0.5" in found.reason


def test_a_jump_of_the_scores_breaks_the_limit() -> None:
    low = [100.0] * 5 + [0.0] * 15
    high = [0] * 15 + [100] * 5
    found = breach_of(seen(rows=500, scores=high), limits(output_jump="50%"), low)
    assert found is not None
    assert (found.kind, found.value > 0.7) == ("prediction", True)
    same = [99] * 5 + [0] * 15
    assert breach_of(seen(rows=500, scores=same), limits(output_jump="50%"), low) is None
    few = limits(output_jump="50%", min_requests=501)
    assert breach_of(seen(rows=600, scores=[0] * 15 + [120] * 5), few, low) is None, "the champion before had 500"


def test_comparisons_count_as_failures_too() -> None:
    snapshot = seen(rows=60)
    compared = VariantCounts(requests=60, rows=60, errors=60, latency=[0] * (len(LATENCY_BORDERS_US) + 1))
    snapshot.variants[VariantKey("delay", 2, "champion", False)] = compared
    found = breach_of(snapshot, limits(error_rate="5%"))
    assert found is not None
    assert found.value == 0.5


def variant(rows: int, *, errors: int = 0, **more: Any) -> VariantCounts:
    return VariantCounts(requests=rows, rows=rows, errors=errors, **more)


def test_answers_that_a_fallback_gave_in_time_are_slow_ones_of_the_version() -> None:
    # given a version that answered nothing itself, since it always took 200 ms
    late = [0] * (len(LATENCY_BORDERS_US) + 1)
    late[LATENCY_BORDERS_US.index(200_000)] = 80
    key = VariantKey("delay", 2, "champion", False)
    snapshot = Snapshot(variants={key: variant(80, late=late)})
    found = breach_of(snapshot, limits(p99="50ms"))
    assert found is not None
    assert found.reason.startswith("80 of 80 requests took longer than 50 ms")
    # but comparisons, for which no client waits, are not judged
    slow = [*late[:-1], 500]
    snapshot = Snapshot(variants={key: variant(500, latency=slow)})
    assert breach_of(snapshot, limits(p99="50ms")) is None


def test_a_run_of_the_past_is_not_judged() -> None:
    snapshot = seen(rows=60, run=1)
    snapshot.variants[VariantKey("delay", 2, "champion", False)] = VariantCounts(
        run=500, run_score=0.5, run_inputs=list(range(300))
    )
    assert breach_of(snapshot, limits(constant_output=200)) is None


def canary(answered: VariantCounts, compared: VariantCounts, champion: VariantCounts) -> Snapshot:
    return Snapshot(
        variants={
            VariantKey("delay", 2, "challenger", True): answered,
            VariantKey("delay", 2, "challenger", False): compared,
            VariantKey("delay", 1, "champion", True): champion,
        }
    )


def test_a_canary_has_answered_what_clients_got_and_what_it_failed() -> None:
    found = judge_canary(canary(variant(3), variant(500, errors=4), variant(500)), "delay", 2, 1, limits())
    assert (found.answered, found.rows, found.errors, found.passes) == (7, 503, 4, True)


def test_a_canary_without_a_limit_is_measured_by_its_champion() -> None:
    # one that fails always is taken out
    found = judge_canary(canary(variant(0), variant(60, errors=60), variant(60)), "delay", 2, 1, limits())
    assert not found.passes
    assert found.breach is not None
    assert found.breach.reason == "60 of 60 predictions failed; the champion failed on 0.00%"
    # one that fails a little more often is held
    found = judge_canary(canary(variant(0), variant(100, errors=3), variant(100)), "delay", 2, 1, limits())
    assert (found.passes, found.breach) == (False, None)
    # one that fails when its champion does, too, goes on
    found = judge_canary(canary(variant(0), variant(100, errors=30), variant(100, errors=30)), "delay", 2, 1, limits())
    assert (found.passes, found.breach) == (True, None)


def test_a_canary_with_a_limit_is_measured_by_it() -> None:
    found = judge_canary(
        canary(variant(100, errors=4), variant(0), variant(100)), "delay", 2, 1, limits(error_rate="5%")
    )
    assert (found.allowed, found.passes, found.breach) == (0.05, True, None)


@pytest.mark.parametrize(("champion_rows", "taken_out"), [(3, False), (20, False), (500, True)])
def test_chance_among_the_champions_predictions_takes_no_canary_out(champion_rows: int, taken_out: bool) -> None:
    # given a champion of which few predictions do not tell how often it fails, and a canary that fails on 20 %
    found = judge_canary(canary(variant(0), variant(200, errors=40), variant(champion_rows)), "delay", 2, 1, limits())
    assert (found.breach is not None) == taken_out
    assert not found.passes
