"""Detectors of single rows in a stream, from the package river: ADWIN, Page-Hinkley and DDM, with its defaults.

They are offered for comparison. They treat rows as independent: on ordinary days they alarm most of the time.

References: Bifet & Gavalda 2007, Learning from time-changing data with adaptive windowing; Page 1954, Continuous
inspection schemes; Gama et al. 2004, Learning with drift detection.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.errors import MissingExtra
from trimtab.stats.row_tests import RowTest

EXTRA = "drift"
RULE = "a change is detected within the current rows"
CLASSES = {"adwin": "ADWIN", "page-hinkley": "PageHinkley", "ddm": "DDM"}
"""By name of the test: the class of river."""
ERRORS_ONLY = ("ddm",)
"""Tests of a stream of errors, 0 or 1."""


def stream_test(name: str) -> Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], RowTest]:
    """Return a test that runs through all reference values, then through the current ones.

    Its statistic is the share of current rows up to the first change, 1 when there is none. Raises MissingExtra.
    """
    try:
        module = import_module("river.drift.binary") if name in ERRORS_ONLY else import_module("river.drift")
    except ImportError:
        raise MissingExtra("river", EXTRA) from None

    def run(reference: npt.NDArray[np.float64], current: npt.NDArray[np.float64]) -> RowTest:
        detector: Any = getattr(module, CLASSES[name])()
        for value in reference.tolist():
            detector.update(value)
        for place, value in enumerate(current.tolist()):
            detector.update(value)
            if detector.drift_detected:
                return RowTest(place / len(current), None)
        return RowTest(1.0, None)

    return run


def is_errors(values: npt.NDArray[np.float64]) -> bool:
    """Return True if all values are 0 or 1."""
    return bool(values.size) and bool(np.isin(values, (0.0, 1.0)).all())
