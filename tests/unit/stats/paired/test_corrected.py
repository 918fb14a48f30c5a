"""Corrections of a judge by labels of people: how often their bounds miss, and what they save."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trimtab.errors import DataError
from trimtab.stats.paired.corrected import corrected_difference, corrected_share, ppi_mean
from trimtab.stats.schemes import Floats

JUDGED = 1_000


def turns(
    labels: int, seed: int, *, rate: float = 0.8, sensitivity: float = 0.9, specificity: float = 0.7
) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    true = (random.random(JUDGED) < rate).astype(float)
    judge = (random.random(JUDGED) < np.where(true == 1, sensitivity, 1 - specificity)).astype(float)
    return judge, np.where(np.arange(JUDGED) < labels, true, np.nan)


@pytest.mark.parametrize("labels", [50, 200])
def test_both_bounds_of_a_corrected_share_hold(labels: int) -> None:
    found = [corrected_share(*turns(labels, seed), draws=1_000) for seed in range(400)]
    for missed in (np.mean([f.low > 0.8 for f in found]), np.mean([f.high < 0.8 for f in found])):
        assert missed < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "half"), [(0.9, 0.7, 0.054), (0.97, 0.9, 0.038), (0.8, 0.4, 0.063)]
)
def test_a_better_judge_saves_more_labels(sensitivity: float, specificity: float, half: float) -> None:
    found = [
        corrected_share(*turns(100, seed, sensitivity=sensitivity, specificity=specificity), draws=1_000)
        for seed in range(60)
    ]
    assert np.mean([(f.high - f.low) / 2 for f in found]) == pytest.approx(half, abs=0.005)


def test_a_difference_is_corrected_by_the_pairs_of_verdicts() -> None:
    missed, plain = [], []
    for seed in range(300):
        random = np.random.default_rng(seed)
        champion = (random.random(JUDGED) < 0.7).astype(float)
        candidate = np.where(random.random(JUDGED) < 0.2, 1 - champion, champion)
        true = 0.2 * (0.3 - 0.7)
        judges = [np.where(random.random(JUDGED) < 0.15, 1 - each, each) for each in (champion, candidate)]
        judges[1] = np.where(random.random(JUDGED) < 0.1, 1.0, judges[1])  # the judge favours the candidate
        labelled = np.arange(JUDGED) < 150
        people = [np.where(labelled, each, np.nan) for each in (champion, candidate)]
        found = corrected_difference((judges[0], judges[1]), (people[0], people[1]), draws=500)
        missed.append(found.low > true or found.high < true)
        plain.append(judges[1].mean() - judges[0].mean() - true)
    assert np.mean(missed) < 0.1 + 3 * math.sqrt(0.09 / 300)
    assert np.mean(plain) > 0.05


def test_turns_that_people_judged_for_one_version_alone_do_not_count() -> None:
    judge = [1.0, 0.0] * 20
    found = corrected_difference((judge, judge), ([1.0, 0.0] * 20, [math.nan] * 40))
    assert found.clusters == 0
    assert found.high - found.low > 0.5


@pytest.mark.parametrize("labels", [200, 400])
def test_scores_are_corrected_from_two_hundred_labels_on(labels: int) -> None:
    missed, narrower = [], []
    for seed in range(400):
        random = np.random.default_rng(seed)
        people = random.beta(4, 2, labels + 2_000)
        judge = np.clip(people + 0.1 + 0.1 * random.normal(size=people.size), 0, 1)
        found = ppi_mean(people[:labels], judge[:labels], judge[labels:])
        missed.append(found.low > 4 / 6)
        narrower.append((found.high - found.low) / 2 / (1.645 * people[:labels].std(ddof=1) / math.sqrt(labels)))
    assert np.mean(missed) < 0.07 + 3 * math.sqrt(0.07 * 0.93 / 400)
    assert np.mean(narrower) < 0.8


def test_a_judge_that_knows_nothing_changes_nothing() -> None:
    people = np.tile([0.1, 0.9, 0.5], 80)
    constant = ppi_mean(people, np.full(240, 0.7), np.full(1_000, 0.7))
    against = ppi_mean(people, 1 - people, np.tile([0.9, 0.1, 0.5], 400))
    assert constant.value == against.value == pytest.approx(people.mean())


def test_what_is_no_verdict_is_refused() -> None:
    for judge, person in (([1, math.nan], [1, 0]), ([1, 0], [1]), ([1, 0], [0.5, 1]), ([], [])):
        with pytest.raises(DataError, match="expected"):
            corrected_share(judge, person)
    with pytest.raises(DataError, match="two labels or more"):
        ppi_mean([0.5], [0.5], [0.5])
