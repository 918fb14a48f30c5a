"""The sticky split: stable, fair, and moving as few rows as possible."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.core.router import Split, point

POINTS = [point("delay", [key]) for key in range(20_000)]
weights = st.lists(st.floats(0, 100), min_size=1, max_size=4).filter(lambda found: sum(found) > 1)


def test_a_point_is_the_same_in_every_process() -> None:
    assert point("delay", ["AA", 7]) == 0.9053503510797423
    assert point("fraud", ["AA", 7]) == 0.14897301146176456


def test_a_key_has_one_point_however_a_client_writes_it() -> None:
    assert point("m", [7]) == point("m", [7.0]) == point("m", ["7"])
    assert point("m", ["a", "b"]) != point("m", ["ab", ""])


def test_points_are_spread_evenly() -> None:
    tenths = [sum(tenth / 10 <= at < (tenth + 1) / 10 for at in POINTS) for tenth in range(10)]
    deviation = math.sqrt(len(POINTS) * 0.1 * 0.9)
    assert all(abs(found - len(POINTS) / 10) < 4 * deviation for found in tenths)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_a_role_gets_its_share_within_three_sigma(share: float) -> None:
    split = Split([100 - 100 * share, 100 * share])
    found = sum(split.choose(at) == 1 for at in POINTS)
    assert abs(found - share * len(POINTS)) < 3 * math.sqrt(len(POINTS) * share * (1 - share))


@given(st.floats(0, 100), st.floats(0, 100))
def test_only_the_moved_share_moves(before: float, after: float) -> None:
    first, second = Split([100 - before, before + 1e-9]), Split([100 - after, after + 1e-9])
    moved = {(first.choose(at), second.choose(at)) for at in POINTS[:2000] if first.choose(at) != second.choose(at)}
    assert moved <= ({(0, 1)} if after > before else {(1, 0)})
    share = sum(first.choose(at) != second.choose(at) for at in POINTS[:2000]) / 2000
    assert abs(share - abs(after - before) / 100) < 5 * math.sqrt(0.25 / 2000)


@given(weights, st.floats(0, 1, exclude_max=True))
def test_whoever_has_no_weight_gets_nothing(found: list[float], at: float) -> None:
    chosen = Split(found).choose(at)
    assert 0 <= chosen < len(found)
    assert found[chosen] > 0


def test_a_sole_role_is_known_without_hashing() -> None:
    assert Split([100, 0]).sole == 0
    assert Split([0, 100]).sole == 1
    assert Split([90, 10]).sole is None


@pytest.mark.parametrize("wrong", [[], [0, 0], [-1, 2]])
def test_weights_that_divide_nothing_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="do not divide traffic"):
        Split(wrong)
