"""The Kaplan-Meier curve of the time to label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.app.reports.label_waits import LabelDelay


def test_the_curve_of_the_original_paper() -> None:
    """Kaplan & Meier 1958, section 2: deaths at 0.8, 3.1, 5.4, 9.2; losses at 1.0, 2.7, 7.0, 12.1."""
    waited = np.array([0.8, 1.0, 2.7, 3.1, 5.4, 7.0, 9.2, 12.1])
    found = LabelDelay.fit(waited, np.isin(waited, [0.8, 3.1, 5.4, 9.2]))
    assert found.seconds.tolist() == [0.8, 3.1, 5.4, 9.2]
    assert (1 - found.share).tolist() == pytest.approx([7 / 8, 7 / 10, 21 / 40, 21 / 80])


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_without_waiting_predictions_it_is_the_share_that_came(waited: list[float]) -> None:
    values = np.array(waited)
    found = LabelDelay.fit(values, np.ones(len(values), bool))
    for time in values:
        assert found.within(float(time)) == pytest.approx((values <= time).mean())
    assert found.until(1.0) == values.max()


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), min_size=1, max_size=50))
def test_the_curve_rises_and_stays_a_share(rows: list[tuple[float, bool]]) -> None:
    found = LabelDelay.fit(np.array([time for time, _ in rows]), np.array([came for _, came in rows], bool))
    assert np.all(np.diff(found.share) >= -1e-12)
    assert np.all((found.share >= 0) & (found.share <= 1))


def test_young_predictions_do_not_make_labels_look_quick() -> None:
    rng = np.random.default_rng(0)
    delay, age = rng.exponential(10, 20_000), rng.uniform(0, 20, 20_000)
    found = LabelDelay.fit(np.minimum(delay, age), delay <= age)
    assert found.within(10) == pytest.approx(1 - np.exp(-1), abs=0.02)
    naive = (delay[delay <= age] <= 10).mean()
    assert naive > 0.85
    assert found.until(0.5) == pytest.approx(10 * np.log(2), abs=0.3)


def test_what_has_not_been_seen_is_not_known() -> None:
    found = LabelDelay.fit(np.array([1.0, 5.0]), np.array([True, False]))
    assert (found.until(0.5), found.until(0.9), found.within(0.5)) == (1.0, None, 0.0)


def test_without_labels_nothing_is_known() -> None:
    found = LabelDelay.fit(np.array([1.0]), np.array([False]))
    assert (found.within(9), found.until(0.1)) == (0.0, None)
