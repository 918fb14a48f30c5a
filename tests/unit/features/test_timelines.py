"""Searches over several entities find the same places as one search an entity, however far the moments lie apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.features.timelines import EntityRows, Segments


@pytest.mark.parametrize("scale", [1, 10**6, 2**57])
@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(-30, 30)), max_size=30),
    asked=st.lists(st.tuples(st.integers(0, 6), st.integers(-40, 40)), max_size=20),
)
def test_end_counts_the_entities_before_and_the_moments_until(
    scale: int, rows: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    ordered, asked = sorted(rows), sorted(asked)
    entities = np.array([entity for entity, _ in ordered], dtype=np.int64)
    moments = np.array([moment for _, moment in ordered], dtype=np.int64) * scale
    segments = Segments(entities, moments, 6)
    questions = np.array(asked, dtype=np.int64).reshape(-1, 2)
    found = segments.end(questions[:, 0], questions[:, 1] * scale)
    assert found.tolist() == [sum(row <= question for row in ordered) for question in asked]


def test_more_entities_than_one_radix_holds_are_in_order() -> None:
    rng = np.random.default_rng(3)
    entities, times = rng.integers(0, 200_000, 5_000), np.sort(rng.integers(0, 50, 5_000))
    rows = EntityRows.of(entities, 200_000, times, times)
    assert rows.order.tolist() == sorted(range(5_000), key=lambda row: (entities[row], times[row], row))


def test_rows_of_one_moment_keep_the_order_of_the_table_unless_one_was_known_later() -> None:
    times = np.array([5, 5, 5, 4])
    known = np.array([9, 3, 3, 12])
    lines = EntityRows.of(np.zeros(4, dtype=np.int64), 1, times, known).part(0, 1)
    assert lines.rows.tolist() == [3, 1, 2, 0]
    # then the latest known is judged by timestamp first: the row of 4 known at 12 never wins
    ends = lines.known_until(np.zeros(5, dtype=np.int64), np.array([4, 5, 9, 12, 20]))
    latest = lines.latest(ends, np.zeros(5, dtype=np.int64))
    assert [int(lines.rows[place]) if place >= 0 else None for place in latest] == [None, 2, 0, 0, 0]
