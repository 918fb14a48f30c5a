"""Versions and aliases in MLflow's registry."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from trimtab.errors import Conflict, NotFound
from trimtab.records.training import Run
from trimtab.testing.judged import bundle_record
from trimtab.training.registry import Registry
from trimtab.training.train import Workbench


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


def test_a_registry_that_lacks_bundles_gets_them_again_under_their_own_numbers(registry: Registry, run: Run) -> None:
    # given records of versions 1, 2 and 4 and a registry that has none of them, as after a renaming
    bundles = [msgspec.structs.replace(bundle_record(n), digest=f"digest-{n}") for n in (1, 2, 4)]
    assert registry.restore("delay", bundles, lambda b: f"file:///{b.version}") == [1, 2, 4]
    # then doing it again changes nothing, an alias can name an old version, and the next number is a new one
    assert registry.restore("delay", bundles, lambda b: f"file:///{b.version}") == []
    registry.set_alias("delay", "champion", 2)
    assert registry.tags("delay", 2)["trimtab.digest"] == "digest-2"
    with pytest.raises(NotFound):
        registry.tags("delay", 3)
    assert registry.register("delay", run, "file:///a", "digest-a", "k") == 5


def test_a_lost_bundle_uses_up_its_number(registry: Registry, run: Run) -> None:
    bundles = [msgspec.structs.replace(bundle_record(n), digest=f"digest-{n}") for n in (1, 2)]
    assert registry.restore("delay", bundles, lambda b: None if b.version == 2 else "file:///1") == [1]
    assert registry.register("delay", run, "file:///a", "digest-a", "k") == 3


def test_versions_of_another_project_under_the_same_name_are_refused(registry: Registry, run: Run) -> None:
    registry.register("delay", run, "file:///a", "digest-a", "k")
    ours = [msgspec.structs.replace(bundle_record(1), digest="digest-b")]
    with pytest.raises(Conflict, match="Give this project a name of its own"):
        registry.restore("delay", ours, lambda _: "file:///b")
