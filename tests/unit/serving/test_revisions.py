"""Following the revisions: swaps, failures that change nothing, a previous champion that stays warm."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trimtab.errors import StoreError
from trimtab.records import Revision, Role
from trimtab.serving.columns import NumericColumns
from trimtab.serving.revisions import RETRY_POLLS, Revisions, Watch
from trimtab.serving.table import RoutingTable
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

    def revisions(self) -> Revisions:
        return Revisions(self.metadata, self.artifacts, NumericColumns)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def served(table: RoutingTable | None, model: str = "delay") -> dict[str, list[int]]:
    assert table is not None
    found = table.models[model]
    return {
        "revision": [found.revision],
        "lanes": [lane.bundle.version for lane in found.lanes],
        "warm": [bundle.version for bundle in found.warm],
    }


def test_without_revisions_the_gateway_is_ready_and_serves_nothing(registry: Registry) -> None:
    revisions = registry.revisions()
    table = revisions.poll()
    assert table is not None
    assert (table.complete, dict(table.models)) == (True, {})
    assert revisions.poll() is None


def test_each_new_revision_swaps_and_the_previous_champion_stays_warm(registry: Registry) -> None:
    for version in (1, 2, 3):
        registry.bundle(version)
    revisions = registry.revisions()
    seen = []
    for number, roles in enumerate(
        [
            {1: ("champion", 100.0)},
            {1: ("champion", 90.0), 2: ("challenger", 10.0)},
            {2: ("champion", 100.0)},
            {2: ("champion", 90.0), 3: ("challenger", 10.0)},
            {1: ("champion", 100.0)},
        ],
        start=1,
    ):
        registry.revise(number, roles)  # type: ignore[arg-type]  # literal roles
        seen.append(served(revisions.poll()))
        assert revisions.poll() is None
    assert [found["revision"] for found in seen] == [[1], [2], [3], [4], [5]]
    assert [found["lanes"] for found in seen] == [[1], [1, 2], [2], [2, 3], [1]]
    assert [found["warm"] for found in seen] == [[], [], [1], [1], [2]]


def test_a_warm_bundle_is_not_loaded_again(registry: Registry) -> None:
    folders = [registry.bundle(version) for version in (1, 2)]
    revisions = registry.revisions()
    registry.revise(1, {1: ("champion", 100)})
    first = revisions.poll()
    registry.revise(2, {2: ("champion", 100)})
    revisions.poll()
    registry.damage(folders[0])
    registry.revise(3, {1: ("champion", 100)})
    third = revisions.poll()
    assert first is not None
    assert third is not None
    assert third.models["delay"].champion.bundle is first.models["delay"].champion.bundle


def test_a_revision_that_cannot_be_loaded_changes_nothing_and_is_tried_again(registry: Registry) -> None:
    registry.bundle(1)
    revisions = registry.revisions()
    registry.revise(1, {1: ("champion", 100)})
    revisions.poll()
    registry.revise(2, {1: ("champion", 90), 2: ("challenger", 10)})
    failed = revisions.poll()
    assert failed is not None
    assert served(failed)["revision"] == [1]
    assert failed.complete
    assert "revision 2" in failed.errors["delay"]
    registry.bundle(2)
    polls = [table for table in (revisions.poll() for _ in range(RETRY_POLLS)) if table is not None]
    assert [served(table)["revision"] for table in polls] == [[2]]
    assert polls[0].errors == {}


def test_a_start_without_a_champion_is_not_ready(registry: Registry) -> None:
    registry.damage(registry.bundle(1))
    registry.bundle(1, model="fraud")
    registry.revise(1, {1: ("champion", 100)}, model="fraud")
    registry.revise(1, {1: ("champion", 100)})
    table = registry.revisions().poll()
    assert table is not None
    assert not table.complete
    assert "content differs" in table.errors["delay"]
    assert served(table, "fraud")["lanes"] == [1]


def test_a_start_does_without_a_challenger_that_cannot_be_loaded(registry: Registry) -> None:
    registry.bundle(1)
    folder = registry.bundle(2)
    registry.damage(folder)
    registry.revise(1, {1: ("champion", 90), 2: ("challenger", 10)})
    revisions = registry.revisions()
    table = revisions.poll()
    assert served(table)["lanes"] == [1]
    assert table is not None
    assert table.complete
    assert "serves without its challenger" in table.errors["delay"]
    registry.repair(folder)
    polls = [table for table in (revisions.poll() for _ in range(RETRY_POLLS)) if table is not None]
    assert [served(table)["lanes"] for table in polls] == [[1, 2]]
    assert polls[0].errors == {}


def test_a_rollback_does_not_wait_for_another_models_bundle(registry: Registry) -> None:
    for version in (1, 2):
        registry.bundle(version)
        registry.bundle(version, model="fraud")
    revisions = registry.revisions()
    for number, version in ((1, 1), (2, 2)):
        registry.revise(number, {version: ("champion", 100)})
        registry.revise(1, {1: ("champion", 100)}, model="fraud")
        revisions.poll()
    registry.revise(2, {2: ("champion", 100)}, model="fraud")
    registry.revise(3, {1: ("champion", 100)})
    first, second, third = revisions.poll(), revisions.poll(), revisions.poll()
    assert [served(first, model)["revision"] for model in ("delay", "fraud")] == [[3], [1]]
    assert [served(second, model)["revision"] for model in ("delay", "fraud")] == [[3], [2]]
    assert third is None


def test_a_revision_without_a_champion_is_refused(registry: Registry) -> None:
    registry.bundle(1)
    registry.revise(1, {1: ("challenger", 100)})
    table = registry.revisions().poll()
    assert table is not None
    assert "assigns no champion" in table.errors["delay"]


def test_a_store_that_is_away_stops_nothing(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.bundle(1)
    registry.revise(1, {1: ("champion", 100)})
    revisions = registry.revisions()
    tables: list[RoutingTable] = []
    came = threading.Event()
    polls = 0

    def poll() -> RoutingTable | None:
        nonlocal polls
        polls += 1
        if polls < 3:
            raise StoreError("is away")
        return Revisions.poll(revisions)

    def hand_over(table: RoutingTable) -> None:
        tables.append(table)
        came.set()

    monkeypatch.setattr(revisions, "poll", poll)
    watch = Watch(revisions, hand_over, every_s=0.001)
    watch.start()
    assert came.wait(20)
    watch.stop()
    assert served(tables[0])["lanes"] == [1]
