"""Versions and aliases in MLflow's registry."""

from __future__ import annotations

import msgspec
import pytest

from trimtab.definitions import Model
from trimtab.errors import NotFound
from trimtab.records import Run
from trimtab.training import Frozen, Registry, Tracking, Trainer, train


@pytest.fixture
def registry(tracking: Tracking) -> Registry:
    return Registry(tracking.client, project="flight-delays")


@pytest.fixture
def run(model: Model, frozen: Frozen, trainer: Trainer) -> Run:
    return train(model, frozen, trainer=trainer, params={"max_iter": 5}, seed=0, key="k")


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
