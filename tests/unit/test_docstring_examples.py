"""The examples in docstrings of public names do what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import trimtab
from trimtab import stats, testing
from trimtab.stats.intervals import cluster_interval, wilson
from trimtab.stats.metrics import metric_value
from trimtab.stats.paired_sequence import compare
from trimtab.stats.profile import profile
from trimtab.stats.sequential import DriftDetector
from trimtab.stats.upward_test import UpwardDetector
from trimtab.stores.artifacts.contract import Artifacts
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.online.contract import Online
from trimtab.stores.predictions.contract import Predictions
from trimtab.stores.spend.contract import SpendStore
from trimtab.stores.tables.contract import Tables

STATISTICS = (DriftDetector, UpwardDetector, cluster_interval, compare, metric_value, profile, wilson)
CONTRACTS = (Artifacts, Metadata, Online, Predictions, SpendStore, Tables)
PUBLIC = [getattr(trimtab, name) for name in trimtab.__all__]
SUITES = [getattr(testing, name) for name in testing.__all__]
SHOWN = (*STATISTICS, *CONTRACTS, *PUBLIC, *SUITES)
"""Whose docstrings have an example."""
MODULES = {each.__module__ for each in SHOWN} | {
    each.name for each in pkgutil.walk_packages(stats.__path__, f"{stats.__name__}.")
}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_examples_do_what_they_show(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS).failed == 0


def test_public_names_have_an_example() -> None:
    assert [each.__qualname__ for each in SHOWN if ">>>" not in (each.__doc__ or "")] == []
