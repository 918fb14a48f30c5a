"""The number of different inputs: exact for few, estimated for many, the same over several workers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.core.tally import fingerprints
from trimtab.stats.distinct_counts import KEPT, RANGE, distinct, smallest

words = st.lists(st.integers(0, RANGE - 1))


@given(st.lists(words))
def test_what_workers_kept_together_is_what_one_would_have_kept(counted: list[list[int]]) -> None:
    assert smallest(*map(smallest, counted)) == smallest([word for own in counted for word in own])


@given(st.sets(st.integers(0, RANGE - 1), max_size=KEPT - 1))
def test_few_inputs_are_counted_exactly(inputs: set[int]) -> None:
    assert distinct(smallest(inputs, inputs)) == len(inputs)


@pytest.mark.parametrize("many", [1_000, 20_000])
def test_many_inputs_are_counted_nearly(many: int) -> None:
    # inputs that differ in a few bits only: one feature counts up, the other 29 stand still
    rows = np.zeros((many, 30), dtype=np.float32)
    rows[:, 7] = np.arange(many)
    assert distinct(smallest(fingerprints([rows]).tolist())) == pytest.approx(many, rel=0.25)


def test_equal_inputs_and_no_others_have_equal_fingerprints() -> None:
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 4, size=(5_000, 5)).astype(np.float32)
    rows[rows == 3] = np.nan
    found = fingerprints([rows[:1], rows[1:4000], rows[4000:]])
    assert len(set(found.tolist())) == len({row.tobytes() for row in rows})
    assert (fingerprints([rows[::-1]])[::-1] == found).all()
    # places count: swapped features are another input
    bits = rows.view(np.uint32)
    assert ((fingerprints([rows[:, ::-1]]) != found) == (bits != bits[:, ::-1]).any(axis=1)).all()


def test_inputs_without_features_are_all_the_same() -> None:
    assert len(set(fingerprints([np.empty((3, 0)), np.empty((2, 0))]).tolist())) == 1
