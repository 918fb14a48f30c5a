"""Several answers to the same item."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trimtab.errors import DataError
from trimtab.stats.paired.repeats import RepeatVariance, flaky_items, next_repeats, repeat_variance


def test_the_example_of_the_docs() -> None:
    found = RepeatVariance(n=100, mean=0.0, within=0.16, between=0.01, error=0.0)
    assert [found.error_at(k) for k in (1, 3, 5, 10)] == pytest.approx([0.041, 0.025, 0.021, 0.016], abs=0.0006)
    assert next_repeats(found, 5) == 5
    assert next_repeats(found, 100) == 32


def test_the_two_variances_of_simulated_answers_are_found() -> None:
    random = np.random.default_rng(0)
    champion = 0.5 + 0.3 * random.normal(size=(3_000, 2))
    candidate = 0.6 + 0.1 * random.normal(size=(3_000, 1)) + 0.2 * random.normal(size=(3_000, 2))
    found = repeat_variance(champion, candidate)
    assert found.within == pytest.approx(0.09 + 0.04, rel=0.05)
    assert found.between == pytest.approx(0.01, abs=0.004)
    assert found.error == pytest.approx(found.error_at(2), rel=1e-6)
    assert found.mean == pytest.approx(0.1, abs=4 * found.error)


def test_missing_answers_are_left_out() -> None:
    whole = repeat_variance([[1, 0], [1, 1], [0, 1]], [[1, 1], [0, 1], [1, 1]])
    padded = [[1, 0, math.nan], [1, 1, math.nan], [0, 1, math.nan], [math.nan, math.nan, math.nan]]
    found = repeat_variance(padded, [[1, 1], [0, 1], [1, 1], [1, 1]])
    assert (found.n, found.mean, found.within, found.between) == (3, whole.mean, whole.within, whole.between)


def test_one_answer_shows_nothing_and_equal_answers_need_no_other() -> None:
    alone = repeat_variance([[1], [0], [1]], [[1], [1], [0]])
    assert math.isnan(alone.within)
    assert next_repeats(alone, 4) == 4
    same = repeat_variance([[1, 1], [0, 0]], [[1, 1], [1, 1]])
    assert next_repeats(same, 4) == 1


def test_flaky_items_pass_sometimes() -> None:
    missing = math.nan
    passes = [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, missing], [missing, missing, missing]]
    found = list(flaky_items(passes))
    assert [(each.item, each.passes, each.repeats) for each in found] == [(2, 1, 2)]
    assert 0 < found[0].interval.low < 0.5 < found[0].interval.high < 1


def test_what_is_no_table_of_answers_is_refused() -> None:
    with pytest.raises(DataError, match="items, repeats"):
        repeat_variance([1, 0], [1, 0])
    with pytest.raises(DataError, match="same items"):
        repeat_variance([[1], [0]], [[1]])
    with pytest.raises(DataError, match="2 or more"):
        repeat_variance([[1.0], [math.nan]], [[1], [1]])
    with pytest.raises(DataError, match="0, 1 and NaN"):
        list(flaky_items([[0.5, 1]]))
