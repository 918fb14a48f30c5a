"""Minima of ranges equal Python's min, by blocks and by staircase."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.features.extremes import NOTHING, late_minima, range_minima, staircase_minima

heights = st.lists(st.one_of(st.integers(-5, 5).map(float), st.just(NOTHING)), max_size=40)


@settings(max_examples=150)
@given(values=heights, data=st.data())
def test_blocks(values: list[float], data: st.DataObject) -> None:
    ranges = data.draw(st.lists(st.tuples(*[st.integers(0, len(values))] * 2), max_size=20))
    begins, ends = np.array(ranges, dtype=np.int64).reshape(-1, 2).T
    found = range_minima(np.array(values), begins, ends)
    assert found.tolist() == [min(values[begin:end], default=NOTHING) for begin, end in ranges]


@settings(max_examples=150)
@given(values=heights, data=st.data())
def test_late_rows(values: list[float], data: st.DataObject) -> None:
    # given two entities, the rows of each known in any order
    half = len(values) // 2
    orders = [data.draw(st.permutations(range(half))), data.draw(st.permutations(range(half, len(values))))]
    order = np.array([*orders[0], *orders[1]], dtype=np.int64)
    starts = np.array([0, half, len(values), len(values)])
    asked = data.draw(st.lists(st.tuples(st.integers(0, 1), *[st.integers(0, 40)] * 2), max_size=20))
    entities = np.array([entity for entity, _, _ in asked], dtype=np.int64)
    ends = starts[entities] + np.array([min(known, len(orders[e])) for e, known, _ in asked], dtype=np.int64)
    begins = starts[entities] + np.array([begin for _, _, begin in asked], dtype=np.int64)
    for minima in (late_minima, staircase_minima):
        found, other = minima(np.array(values), order, starts, entities, ends, [begins, starts[entities]])
        for query, (entity, known, _) in enumerate(asked):
            places = orders[entity][:known]
            assert found[query] == min((values[p] for p in places if p >= begins[query]), default=NOTHING)
            assert other[query] == min((values[p] for p in places), default=NOTHING)
