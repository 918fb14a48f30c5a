"""Versions and aliases in MLflow's registry."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from trimtab.errors import NotFound
from trimtab.records import Run
from trimtab.training import Registry, Workbench


@pytest.fixture
def registry(bench: Workbench) -> Registry:
    return Registry(bench.tracking.client, project="flight-delays")


@pytest.fixture
def run(trained: tuple[Run, Path], bench: Workbench) -> Run:
    """A trained run, as a run of this database."""
    here = bench.tracking.begin("delay", "k", name="delay", tags={})
    return msgspec.structs.replace(trained[0], id=here)


def test_registering_a_bundle_twice_gives_one_version(registry: Registry, run: Run) -> None:
    first = registry.register("delay", run, "file:///a", "digest-a", "workflow-1", tags={"trimtab.gates": "pass"})
    again = registry.register("delay", run, "file:///a", "digest-a", "workflow-1")
    other = registry.register("delay", run, "file:///b", "digest-b", "workflow-2")
    assert (first, again, other) == (1, 1, 2)
    tags = registry.tags("delay", 1)
    assert tags["trimtab.gates"] == "pass"
    assert tags["trimtab.dataset"] == run.dataset
    assert tags["trimtab.key"] == "workflow-1"


def test_an_alias_moves_and_goes(registry: Registry, run: Run) -> None:
    for digest in ("a", "b"):
        registry.register("delay", run, f"file:///{digest}", digest, digest)
    assert registry.alias("delay", "champion") is None
    registry.set_alias("delay", "champion", 1)
    registry.set_alias("delay", "champion", 2)
    assert registry.alias("delay", "champion") == 2
    registry.remove_alias("delay", "champion")
    registry.remove_alias("delay", "champion")
    assert registry.alias("delay", "champion") is None


def test_models_are_apart(registry: Registry, run: Run) -> None:
    registry.register("delay", run, "file:///a", "a", "k")
    assert registry.register("other", msgspec.structs.replace(run, model="other"), "file:///a", "a", "k") == 1
    assert registry.alias("nobody", "champion") is None
    with pytest.raises(NotFound, match="no version 9 of model 'delay'"):
        registry.tags("delay", 9)
