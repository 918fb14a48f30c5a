"""What a closed window says of a version's speed."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.monitoring.inputs import p99_at_least


@pytest.mark.parametrize(("slow", "broken"), [(0, False), (9, False), (24, False), (25, True), (100, True)])
def test_a_pause_that_few_requests_wait_for_is_no_slow_version(slow: int, broken: bool) -> None:
    latency = np.r_[np.full(759 - slow, 1.0), np.full(slow, 253.0)]
    assert (p99_at_least(latency) > 250) is broken
    assert slow < 9 or np.quantile(latency, 0.99) > 250  # which alone would have broken the limit


def test_it_hardly_ever_says_more_than_the_truth() -> None:
    rng = np.random.default_rng(0)
    truth = -np.log(0.01)  # of an exponential with mean 1
    assert max(p99_at_least(rng.exponential(size=800)) for _ in range(2_000)) <= truth


def test_a_handful_of_rows_tells_nothing() -> None:
    assert p99_at_least(np.array([900.0, 900.0])) == 0.0
    assert p99_at_least(np.full(50, 900.0)) == 900.0
