"""What is too small to count, at the border of each limit."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.stats.schemes import MISSING, SLOTS
from trimtab.stats.smallest import LARGE_SHARE, Smallest


def counts(*missing: float) -> np.ndarray:
    """Counts of 1,000 rows a column, so many of them missing."""
    found = np.zeros((len(missing), SLOTS), np.int64)
    found[:, MISSING] = [round(1000 * share) for share in missing]
    found[:, 5] = 1000 - found[:, MISSING]
    return found


@pytest.mark.parametrize(
    ("moved", "distance", "missing", "enough"),
    [
        (0.1, 0.0749, 0.0, False),
        (0.0, 0.075, 0.0, True),
        (LARGE_SHARE, 0.0, 0.0, True),
        (LARGE_SHARE - 0.001, 0.0, 0.0, False),
        (0.0, 0.0, 0.01, True),
        (0.0, 0.0, 0.009, False),
        (0.0, np.nan, 0.0, True),
    ],
)
def test_an_ordered_column(moved: float, distance: float, missing: float, enough: bool) -> None:
    found = Smallest().columns(np.array([moved]), np.array([distance]), counts(missing), counts(0.0))
    assert found.tolist() == [enough]


@pytest.mark.parametrize(("moved", "enough"), [(0.0099, False), (0.01, True)])
def test_a_category(moved: float, enough: bool) -> None:
    assert Smallest().columns(np.array([moved]), np.zeros(0), counts(0.0), counts(0.0)).tolist() == [enough]


def test_zero_lets_everything_count() -> None:
    everything = Smallest(sd=0, share=0, correlation=0)
    assert everything.columns(np.zeros(2), np.zeros(1), counts(0.0, 0.0), counts(0.0, 0.0)).all()
