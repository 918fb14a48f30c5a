"""The position of a view: how old its values were in a stretch of time, from the steps that are remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.features.materialization import materialize
from trimtab.features.state.position import GAP, MOST_GAPS, Position, read_position
from trimtab.stores.online.lmdb import LmdbOnline
from unit.features.test_stream_state import HOUR, micros, payments

H = 60 * GAP
"""An hour."""


@pytest.mark.parametrize(
    ("start", "end", "age"),
    [
        (0, H, H),  # from 0 to 2 h the values were those of 0
        (H, 2 * H, 2 * H),
        (2 * H, 3 * H, 0),  # steps came every few seconds
        (2 * H + 1, 5 * H, 2 * H),
        (6 * H, 7 * H, 0),
        (8 * H, 9 * H, H),  # no step since 8 h
        (8 * H, 8 * H + GAP, 0),
    ],
)
def test_the_age_is_that_of_the_longest_stretch_without_a_step(start: int, end: int, age: int) -> None:
    position = Position(0, 0, 0, {}, gaps=((0, 2 * H), (3 * H, 5 * H)))
    assert position.age(8 * H, start, end) == age


def test_the_age_of_a_stretch_is_the_same_whenever_it_is_asked_for(tmp_path: Path) -> None:
    online, table = LmdbOnline(tmp_path), payments(0, 30)
    for minute in (40, 40.5, 130):
        materialize(HOUR, table, online, until=micros(minute))
        for _ in range(2):  # another step at the same time, and the same again from nothing
            materialize(HOUR, table, online, until=micros(minute), full=True)
    watermark, position = online.watermark(HOUR.version_id), read_position(online, HOUR.version_id)
    assert position is not None
    assert watermark is not None
    assert position.age(watermark, micros(60), micros(100)) == 59.5 * GAP
    before = Position(0, 0, 0, {}, gaps=position.gaps[:0])
    assert before.age(micros(40.5), micros(60), micros(100)) == 59.5 * GAP  # as it was known at 100
    online.close()


def test_old_gaps_are_forgotten() -> None:
    position = Position(0, 0, 0, {}, gaps=tuple((n, n + 1) for n in range(MOST_GAPS)))
    assert len(position.after(0, H)) == MOST_GAPS
    assert position.after(0, H)[-1] == (0, H)
    assert position.after(0, GAP) == position.gaps
