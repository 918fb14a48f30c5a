"""Quantiles of Student's t: those of SciPy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from trimtab.stats.student_t import t_quantile


@given(st.floats(0.01, 0.9999), st.integers(1, 400))
def test_the_quantiles_are_those_of_scipy(confidence: float, degrees: int) -> None:
    expected = float(special.stdtrit(degrees, 0.5 + confidence / 2))
    assert t_quantile(confidence, degrees) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("confidence", "degrees"), [(0.0, 3), (1.0, 3), (0.95, 0)])
def test_what_has_no_quantile_is_refused(confidence: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="has no quantile"):
        t_quantile(confidence, degrees)
