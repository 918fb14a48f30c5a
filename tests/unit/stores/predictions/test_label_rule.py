"""Which label counts: the one known last, of the same time the one logged last, of the model or of none."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.stores.predictions import label_rule


def test_a_label_known_later_or_at_the_same_time_replaces_the_one_before() -> None:
    early, late = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
    assert label_rule.replaces(late, early)
    assert label_rule.replaces(late, late)
    assert not label_rule.replaces(early, late)


@given(st.lists(st.integers(0, 3), min_size=1))
def test_the_last_one_in_order_is_the_one_that_no_other_replaces(known_at: list[int]) -> None:
    counts = 0
    for place in range(1, len(known_at)):
        if label_rule.replaces(known_at[place], known_at[counts]):
            counts = place
    order = label_rule.ordered(np.array(known_at, np.int64))
    assert order[-1] == counts
    assert sorted(order) == list(range(len(known_at)))


@pytest.mark.parametrize("array", [pa.array, lambda values: pa.chunked_array([values], pa.string())])
def test_a_label_belongs_to_the_model_that_it_names_or_to_all(array: object) -> None:
    named = ["delay", "price", None]
    assert callable(array)
    assert [label_rule.belongs(name, "delay") for name in named] == [True, False, True]
    assert label_rule.belong(array(named), "delay").to_pylist() == [True, False, True]
    assert label_rule.belong(pa.array([], pa.string()), "delay").to_pylist() == []
