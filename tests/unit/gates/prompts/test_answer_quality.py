"""The quality gate passes what is shown to be no worse, and refuses the rest with its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kit.judged import evaluation, inputs
from trimtab.gates.prompts.answer_quality import judge_quality
from trimtab.gates.prompts.paired_items import Paired, paired
from trimtab.stats.paired.pass_rates import bonett_price, mcnemar
from trimtab.stats.schemes import Floats

ONE = list(evaluation([1.0], [1.0]).items)
"""An item, for figures that look at none."""


def passes(n: int, of: int) -> list[float]:
    return [1.0] * n + [0.0] * (of - n)


def test_a_prompt_that_loses_items_is_refused_with_its_interval() -> None:
    champion = passes(180, 200)
    candidate = passes(140, 200)
    (found,) = judge_quality(inputs(evaluation(candidate, champion), margin=0.056))
    expected = bonett_price(200, 0, 40, confidence=0.95)
    assert found.verdict == "fail"
    assert (found.value, found.low, found.high) == (-0.2, expected.low, expected.high)
    assert "exact: 70.0% against 90.0% of triage/3 on 200 items, -20.0 points (-24.6 to -15.0)" in found.reason
    assert "it is worse" in found.reason
    assert found.details["discordant"] == [0, 40]
    assert found.details["p"] == mcnemar(0, 40)


def test_an_equal_prompt_passes_and_one_that_cannot_show_it_does_not() -> None:
    same = passes(45, 50)
    (found,) = judge_quality(inputs(evaluation(same, same), margin=0.111))
    assert found.verdict == "pass"
    assert "not worse by 11.1 points or more" in found.reason
    mixed = [0.0, 0.0, 1.0, 1.0] * 3 + [1.0] * 38
    other = [1.0, 1.0, 0.0, 0.0] * 3 + [1.0] * 38
    (found,) = judge_quality(inputs(evaluation(mixed, other), margin=0.05))
    assert found.value == 0.0
    assert found.verdict == "fail"
    assert "that it is not worse is not shown" in found.reason


def test_with_few_items_or_clusters_nothing_passes() -> None:
    (found,) = judge_quality(inputs(evaluation(passes(40, 40), passes(30, 40))))
    assert found.verdict == "fail"
    assert "llm.evaluate.min_items is 50" in found.reason
    (alone,) = judge_quality(inputs(evaluation(passes(40, 40))))
    assert alone.verdict == "fail"
    clusters = [f"c{k % 9}" for k in range(90)]
    (found,) = judge_quality(inputs(evaluation(passes(90, 90), passes(90, 90), clusters=clusters)))
    assert found.verdict == "fail"
    assert "9 clusters: with fewer than 10" in found.reason


def test_a_first_version_has_nothing_to_be_compared_with() -> None:
    (found,) = judge_quality(inputs(evaluation(passes(45, 60))))
    assert (found.verdict, found.value) == ("pass", 0.75)
    assert "nothing serves yet" in found.reason


def test_no_verdict_is_never_a_pass_of_the_candidate_and_never_a_loss_of_the_champion() -> None:
    champion = [*passes(60, 60), math.nan]
    candidate = [*passes(60, 60)[:-1], math.nan, 1.0]
    found = paired(evaluation(candidate, champion), "exact")
    assert len(found.items) == 60  # the one that the champion got no verdict on is left out
    assert found.candidate[-1] == 0.0
    assert found.no_verdict == (1, 1)


def test_a_judge_below_its_bar_informs_and_says_why() -> None:
    informs = {"exact": "50 of 100 verdicts of people"}
    found = judge_quality(inputs(evaluation(passes(20, 60), passes(60, 60), judge=True), informs=informs))
    assert {each.verdict for each in found} == {"warn"}
    assert "It informs and refuses nothing: 50 of 100 verdicts of people" in found[0].reason
    assert found[0].details["judge_version"] == "v"
    (first,) = judge_quality(inputs(evaluation(passes(45, 60), judge=True), informs=informs))
    assert (first.verdict, first.value) == ("warn", 0.75)


def test_rare_large_losses_are_refused_where_the_mean_hides_them() -> None:
    champion = np.full(200, 0.5)
    candidate = champion + 0.02
    candidate[:24] = 0.0
    mean, broken = judge_quality(inputs(evaluation(candidate, champion, kind="score"), margin=0.1))
    assert mean.verdict == "pass"
    assert broken.metric == "max_broken"
    assert broken.verdict == "fail"
    assert "24 of 200 items lose 0.5 or more: at most 16.5%, allowed 15.0%" in broken.reason


def both(candidate: Floats, champion: Floats, clusters: list[str], repeats: int = 1) -> Paired:
    """Return both sides of so many items, without their answers."""
    return Paired(
        kind="pass_fail",
        items=ONE * len(candidate),
        candidate=candidate,
        champion=champion,
        clusters=clusters,
        repeats=repeats,
        no_verdict=(0, 0),
    )


@pytest.mark.parametrize(("repeats", "cluster"), [(3, 1), (1, 4), (3, 4)])
def test_the_lower_bound_of_repeated_and_clustered_verdicts_misses_rarely(repeats: int, cluster: int) -> None:
    """Without the two further items of Bonett & Price a set without differing items has an interval of no width."""
    chance, runs, n, misses = np.random.default_rng(7), 400, 60, 0
    clusters = [f"c{k // cluster}" for k in range(n)]
    for _ in range(runs):
        level = np.repeat(chance.beta(9, 1, n // cluster), cluster)
        two = [(chance.random((n, repeats)) < level[:, None]).mean(axis=1) for _ in range(2)]
        misses += both(two[0], two[1], clusters, repeats).bounds(0.95).low > 0
    assert misses / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    same = np.ones(60)
    assert both(same, same, clusters, 3).bounds(0.95).low < -0.03


@pytest.mark.parametrize(("loss", "least", "most"), [(0.0, 0.75, 0.95), (0.0565, 0.0, 0.075)])
def test_an_equal_prompt_mostly_passes_and_one_that_loses_the_margin_rarely(
    loss: float, least: float, most: float
) -> None:
    """200 items of which a tenth differ: the margin of 5.65 points is what they show with a probability of 80 %."""
    chance, runs, passed = np.random.default_rng(11), 400, 0
    clusters = [f"c{k}" for k in range(200)]
    for _ in range(runs):
        kinds = chance.choice(3, size=200, p=[0.05 - loss / 2, 0.05 + loss / 2, 0.9])
        found = both(np.where(kinds == 1, 0.0, 1.0), np.where(kinds == 0, 0.0, 1.0), clusters)
        passed += found.bounds(0.95).low > -0.0565
    assert least <= passed / runs <= most
