"""The examples in docstrings of public functions do what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

from trimtab import stats
from trimtab.stats.intervals import cluster_interval, wilson
from trimtab.stats.metrics import metric_value
from trimtab.stats.paired_sequence import compare
from trimtab.stats.profile import profile
from trimtab.stats.sequential import DriftDetector
from trimtab.stats.upward_test import UpwardDetector

PACKAGES = (stats,)
SHOWN = (DriftDetector, UpwardDetector, cluster_interval, compare, metric_value, profile, wilson)
"""Whose docstrings have an example."""


def modules() -> Iterator[str]:
    for package in PACKAGES:
        yield from (each.name for each in pkgutil.iter_modules(package.__path__, f"{package.__name__}."))


@pytest.mark.parametrize("name", list(modules()))
def test_examples_do_what_they_show(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS).failed == 0


def test_the_main_functions_have_an_example() -> None:
    assert [each.__qualname__ for each in SHOWN if ">>>" not in (each.__doc__ or "")] == []
