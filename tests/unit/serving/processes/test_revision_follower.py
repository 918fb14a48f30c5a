"""Following the revisions: swaps, failures that change nothing, a previous champion that stays warm."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.clock import ManualClock
from trimtab.errors import DataError
from trimtab.records.record import Role
from trimtab.records.serving import Revision
from trimtab.serving.core.bundle_loading import Loader
from trimtab.serving.core.loaded_bundle import load_bundle
from trimtab.serving.core.routing import RoutingTable
from trimtab.serving.core.vectorizer import NumericColumns
from trimtab.serving.orders import Serve
from trimtab.serving.processes.revision_follower import RETRY, Revisions
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.bundles import lookup_graph, plain_spec, register_bundle, revision

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Registry:
    """Real stores, with bundles and revisions on demand."""

    def __init__(self, folder: Path) -> None:
        self.metadata = SqlMetadata(folder / "metadata.db")
        self.artifacts = FolderArtifacts(folder / "artifacts")

    def bundle(self, version: int, model: str = "delay") -> Path:
        spec = plain_spec(model, ["row"])
        record = register_bundle(
            self.metadata, self.artifacts, lookup_graph([version / 10]), spec, version=version, created_at=NOW
        )
        return self.artifacts.open(record.path)

    def damage(self, folder: Path) -> None:
        (folder / "model.onnx").chmod(0o644)
        (folder / "model.onnx").write_bytes(b"damaged")

    def repair(self, folder: Path) -> None:
        (folder / "model.onnx").write_bytes(lookup_graph([0.2]))

    def revise(self, number: int, roles: Mapping[int, tuple[Role, float]], model: str = "delay") -> Revision:
        record = revision(model, number, roles, created_at=NOW)
        self.metadata.put(record)
        return record

    def following(self, **options: Any) -> Following:
        return Following(self, **options)


class Following:
    """What a supervisor and one worker make of the revisions."""

    def __init__(self, registry: Registry, **options: Any) -> None:
        self.clock = ManualClock(NOW)
        self._revisions = Revisions(registry.metadata, registry.artifacts, self.clock, **options)
        self._loader = Loader(lambda order, aside: load_bundle(order, NumericColumns, aside=aside))
        self._serve = Serve(())

    def poll(self) -> list[RoutingTable]:
        """Look once; return the tables that served in turn, none when nothing changed."""
        orders = self._revisions.poll()
        if orders is None:
            return []
        self._serve = Serve(orders)
        return self.again()

    def again(self) -> list[RoutingTable]:
        """Try to load once more what could not be."""
        return list(self._loader.follow(self._serve))

    def last(self) -> RoutingTable:
        return self.poll()[-1]

    def hold(self, *models: str) -> RoutingTable:
        return list(self._loader.follow(Serve(self._serve.models, models)))[-1]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def served(table: RoutingTable, model: str = "delay") -> dict[str, list[int]]:
    found = table.models[model]
    return {
        "revision": [found.revision],
        "variants": [variant.bundle.version for variant in found.variants],
        "warm": [bundle.version for bundle in found.warm],
    }


def test_without_revisions_the_gateway_is_ready_and_serves_nothing(registry: Registry) -> None:
    following = registry.following()
    table = following.last()
    assert (table.complete, dict(table.models)) == (True, {})
    assert following.poll() == []


def test_each_new_revision_swaps_and_the_previous_champion_stays_warm(registry: Registry) -> None:
    for version in (1, 2, 3):
        registry.bundle(version)
    following = registry.following()
    seen = []
    steps: list[Mapping[int, tuple[Role, float]]] = [
        {1: ("champion", 100.0)},
        {1: ("champion", 90.0), 2: ("challenger", 10.0)},
        {2: ("champion", 100.0)},
        {2: ("champion", 90.0), 3: ("challenger", 10.0)},
        {1: ("champion", 100.0)},
    ]
    for number, roles in enumerate(steps, start=1):
        registry.revise(number, roles)
        seen.append(served(following.last()))
        assert following.poll() == []
    assert [found["revision"] for found in seen] == [[1], [2], [3], [4], [5]]
    assert [found["variants"] for found in seen] == [[1], [1, 2], [2], [2, 3], [1]]
    assert [found["warm"] for found in seen] == [[], [], [1], [1], [2]]


def test_the_champion_before_is_warm_after_a_start_and_let_go_in_time(registry: Registry) -> None:
    for version in (1, 2):
        registry.bundle(version)
        registry.revise(version, {version: ("champion", 100)})
    following = registry.following(keep_warm=timedelta(hours=1))
    assert served(following.last())["warm"] == [1]
    following.clock.sleep(3600)
    assert served(following.last())["warm"] == []
    assert following.poll() == []


def test_nothing_waits_for_the_champion_before(registry: Registry) -> None:
    for version in (1, 2):
        registry.bundle(version)
        registry.revise(version, {version: ("champion", 100)})
    assert [served(table)["warm"] for table in registry.following().poll()] == [[], [1]]


def test_a_warm_bundle_is_not_loaded_again(registry: Registry) -> None:
    folders = [registry.bundle(version) for version in (1, 2)]
    following = registry.following()
    registry.revise(1, {1: ("champion", 100)})
    first = following.last()
    registry.revise(2, {2: ("champion", 100)})
    following.poll()
    registry.damage(folders[0])
    registry.revise(3, {1: ("champion", 100)})
    assert following.last().models["delay"].champion.bundle is first.models["delay"].champion.bundle


def test_a_revision_that_cannot_be_loaded_changes_nothing_and_is_tried_again(registry: Registry) -> None:
    registry.bundle(1)
    following = registry.following()
    registry.revise(1, {1: ("champion", 100)})
    following.poll()
    registry.revise(2, {1: ("champion", 90), 2: ("challenger", 10)})
    failed = following.last()
    assert served(failed)["revision"] == [1]
    assert failed.complete
    assert "revision 2" in failed.errors["delay"]
    registry.bundle(2)
    following.clock.sleep(RETRY.total_seconds())
    mended = following.last()
    assert served(mended)["revision"] == [2]
    assert mended.errors == {}


def test_a_start_without_a_champion_is_not_ready(registry: Registry) -> None:
    registry.damage(registry.bundle(1))
    registry.bundle(1, model="fraud")
    registry.revise(1, {1: ("champion", 100)}, model="fraud")
    registry.revise(1, {1: ("champion", 100)})
    table = registry.following().last()
    assert not table.complete
    assert "content differs" in table.errors["delay"]
    assert served(table, "fraud")["variants"] == [1]


def test_a_start_with_a_damaged_champion_serves_the_one_before(registry: Registry) -> None:
    registry.bundle(1)
    registry.damage(registry.bundle(2))
    registry.revise(1, {1: ("champion", 100)})
    registry.revise(2, {2: ("champion", 100)})
    table = registry.following().last()
    assert served(table) == {"revision": [1], "variants": [1], "warm": []}
    assert table.complete
    assert "content differs" in table.errors["delay"]


def test_a_start_does_without_a_challenger_that_cannot_be_loaded(registry: Registry) -> None:
    registry.bundle(1)
    folder = registry.bundle(2)
    registry.damage(folder)
    registry.revise(1, {1: ("champion", 90), 2: ("challenger", 10)})
    following = registry.following()
    table = following.last()
    assert served(table)["variants"] == [1]
    assert table.complete
    assert "serves without its challenger" in table.errors["delay"]
    registry.repair(folder)
    mended = following.again()[-1]
    assert served(mended)["variants"] == [1, 2]
    assert mended.errors == {}


def test_a_rollback_does_not_wait_for_another_models_bundle(registry: Registry) -> None:
    for version in (1, 2):
        registry.bundle(version)
        registry.bundle(version, model="fraud")
    following = registry.following()
    registry.revise(1, {1: ("champion", 100)}, model="fraud")
    for number, version in ((1, 1), (2, 2)):
        registry.revise(number, {version: ("champion", 100)})
        following.poll()
    registry.revise(2, {2: ("champion", 100)}, model="fraud")
    registry.revise(3, {1: ("champion", 100)})
    first, *_, last = following.poll()
    assert [served(first, model)["revision"] for model in ("delay", "fraud")] == [[3], [1]]
    assert [served(last, model)["revision"] for model in ("delay", "fraud")] == [[3], [2]]


def test_a_revision_without_a_champion_is_refused(registry: Registry) -> None:
    registry.bundle(1)
    registry.revise(1, {1: ("challenger", 100)})
    assert "assigns no champion" in registry.following().last().errors["delay"]


def test_a_model_can_be_unloaded_and_loaded_again(registry: Registry) -> None:
    registry.bundle(1)
    registry.revise(1, {1: ("champion", 100)})
    following = registry.following()
    following.poll()
    held = following.hold("delay")
    assert (dict(held.models), held.held, held.complete) == ({}, ("delay",), True)
    assert served(following.hold())["variants"] == [1]


def test_a_bundle_that_is_refused_on_inspection_never_serves(registry: Registry) -> None:
    registry.bundle(1)
    refused = registry.bundle(2)

    def inspect(folder: Path) -> None:
        if folder == refused:
            raise DataError("signed by another key")

    following = registry.following(inspect=inspect)
    registry.revise(1, {1: ("champion", 100)})
    following.poll()
    registry.revise(2, {2: ("champion", 100)})
    table = following.last()
    assert served(table)["variants"] == [1]
    assert "signed by another key" in table.errors["delay"]


@pytest.mark.parametrize("refused", [1, 2])
def test_a_bundle_that_cannot_be_had_is_asked_for_with_pauses(registry: Registry, refused: int) -> None:
    # given a champion, or one to be kept warm, that does not pass its inspection
    looks: list[Path] = []
    folders = {version: registry.bundle(version) for version in (1, 2)}

    def inspect(folder: Path) -> None:
        if folder == folders[refused]:
            looks.append(folder)
            raise DataError("signed by another key")

    following = registry.following(inspect=inspect)
    for version in (1, 2):
        registry.revise(version, {version: ("champion", 100)})
    # when it is polled often
    following.poll()
    first = len(looks)
    for _ in range(10):
        following.clock.sleep(0.2)
        following.poll()
    # then it is looked at again only after a pause
    assert len(looks) == first
    following.clock.sleep(RETRY.total_seconds())
    following.poll()
    assert len(looks) == 2 * first


def test_what_a_rollback_has_ended_is_not_kept_warm(registry: Registry) -> None:
    for version in (0, 1, 2):
        registry.bundle(version)
        registry.revise(version, {version: ("champion", 100)})
    back = msgspec.structs.replace(revision("delay", 3, {1: ("champion", 100)}, created_at=NOW), action="rollback")
    registry.metadata.put(back)
    assert served(registry.following().last())["warm"] == [0]
