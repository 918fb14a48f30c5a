"""Shadows that are not quick score in a process of their own, and are loaded anew when they are to answer."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from trimtab.errors import DataError
from trimtab.records.record import Role
from trimtab.runtimes.shadow_process import ShadowScorer
from trimtab.serving.core import loaded_bundle
from trimtab.serving.core.bundle_loading import Loader
from trimtab.serving.core.loaded_bundle import LoadedBundle, load_bundle
from trimtab.serving.core.routing import ModelTable, RoutingTable
from trimtab.serving.core.vectorizer import NumericColumns
from trimtab.serving.orders import BundleOrder, ModelOrder, Serve, VariantOrder
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.testing.bundles import lookup_graph, pack_bundle, plain_spec

ROWS = np.array([[0.0], [1.0]], dtype=np.float32)


class Loading:
    """A loader over real bundles of versions 1 and 2."""

    def __init__(self, folder: Path) -> None:
        self.loads: list[tuple[int, bool]] = []
        """Versions that were loaded, and whether to answer nobody."""
        self.broken = False
        self.loader = Loader(self._load)
        artifacts, self.bundles = FolderArtifacts(folder), {}
        for version in (1, 2):
            staging = artifacts.staging()
            digest = pack_bundle(staging, lookup_graph([version / 10, 0.5]), plain_spec("delay", ["row"]))
            path = artifacts.open(artifacts.publish(staging, f"bundles/delay/{version}"))
            self.bundles[version] = BundleOrder(f"delay/{version}", "delay", version, str(path), digest)

    def _load(self, order: BundleOrder, aside: bool) -> LoadedBundle:
        if self.broken:
            raise DataError("it cannot be loaded")
        self.loads.append((order.version, aside))
        return load_bundle(order, NumericColumns, aside=aside)

    def tables(self, number: int, warm: int | None = None, /, **roles: int) -> list[RoutingTable]:
        """Follow a revision; return the tables that serve in turn."""
        variants = [VariantOrder(_role(name), 50.0, self.bundles[version]) for name, version in roles.items()]
        kept = None if warm is None else self.bundles[warm]
        return list(self.loader.follow(Serve((ModelOrder("delay", number, tuple(variants), warm=kept),))))

    def follow(self, number: int, warm: int | None = None, /, **roles: int) -> ModelTable:
        """Follow a revision; return what serves in the end."""
        return self.tables(number, warm, **roles)[-1].models["delay"]


def _role(name: str) -> Role:
    roles: dict[str, Role] = {"champion": "champion", "challenger": "challenger", "shadow": "shadow"}
    return roles[name]


@pytest.fixture
def loading(tmp_path: Path) -> Iterator[Loading]:
    made = Loading(tmp_path)
    yield made
    made.loader.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """No bundle is quick."""
    monkeypatch.setattr(loaded_bundle, "QUICK_NS", 0)


def bundle_of(table: ModelTable, version: int) -> LoadedBundle:
    return next(variant.bundle for variant in table.variants if variant.bundle.version == version)


def process_of(bundle: LoadedBundle) -> psutil.Process:
    """Return the process of a bundle that scores aside, once it is up."""
    assert isinstance(bundle.scorer, ShadowScorer)
    bundle.scorer.score(ROWS)
    assert bundle.scorer.pid is not None
    return psutil.Process(bundle.scorer.pid)


@pytest.mark.usefixtures("slow")
def test_only_a_shadow_scores_aside(loading: Loading) -> None:
    table = loading.follow(1, champion=1, shadow=2)
    champion, shadow = bundle_of(table, 1), bundle_of(table, 2)
    assert (champion.aside, champion.inline, champion.scorer.in_process) == (False, True, True)
    assert (shadow.aside, shadow.inline, shadow.quick) == (True, False, False)
    assert process_of(shadow).is_running()
    assert not shadow.scorer.in_process
    np.testing.assert_allclose(shadow.scorer.score(ROWS), [0.2, 0.5])
    assert bundle_of(loading.follow(2, champion=1, challenger=2), 2).scorer.in_process


def test_a_quick_shadow_stays_here_and_is_not_loaded_twice(loading: Loading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_bundle, "QUICK_NS", 10**12)
    monkeypatch.setattr(loaded_bundle, "QUICK_BATCH_NS", 10**12)
    shadow = bundle_of(loading.follow(1, champion=1, shadow=2), 2)
    assert (shadow.aside, shadow.quick, shadow.inline) == (False, True, True)
    assert bundle_of(loading.follow(2, champion=2, shadow=1), 2) is shadow
    assert loading.loads == [(1, False), (2, True)]


@pytest.mark.usefixtures("slow")
def test_a_shadow_that_is_promoted_is_loaded_anew_and_its_process_ends(loading: Loading) -> None:
    before = loading.follow(1, champion=1, shadow=2)
    process = process_of(bundle_of(before, 2))
    # when the two change places
    tables = loading.tables(2, None, champion=2, shadow=1)
    # then there is never a table of half of it
    assert {table.models["delay"].revision for table in tables} == {2}
    after = tables[-1].models["delay"]
    champion, shadow = bundle_of(after, 2), bundle_of(after, 1)
    assert (after.champion.bundle, champion.aside, champion.scorer.in_process) == (champion, False, True)
    np.testing.assert_allclose(champion.scorer.score(ROWS), [0.2, 0.5])
    assert loading.loads == [(1, False), (2, True), (2, False), (1, True)]
    # and the process ends as soon as nobody scores with it any more
    assert process.is_running()
    del before
    loading.loader.close_dropped()
    assert not process.is_running()
    assert process_of(shadow).is_running()


@pytest.mark.usefixtures("slow")
def test_a_promotion_that_fails_leaves_everything_as_it_was(loading: Loading) -> None:
    before = loading.follow(1, champion=1, shadow=2)
    process = process_of(bundle_of(before, 2))
    loading.broken = True
    assert loading.follow(2, champion=2) is before
    loading.loader.close_dropped()
    assert process.is_running()
    # and when it can be loaded it is
    loading.broken = False
    assert loading.follow(2, champion=2).champion.bundle.scorer.in_process


def test_a_start_without_a_shadow_that_fails_stays_so_until_it_can_be_loaded(
    loading: Loading, caplog: pytest.LogCaptureFixture
) -> None:
    # given a shadow that is refused at a start, and whose reason changes while it is
    shadow = loading.bundles[2]
    for reason in ("a worker died", "a worker died", "the trial died"):
        loading.bundles[2] = msgspec.structs.replace(shadow, error=reason)
        table = loading.follow(1, champion=1, shadow=2)
        assert [variant.role for variant in table.variants] == ["champion"]
        assert loading.loader.errors == {"delay": f"revision 1 serves without its shadow: {reason}"}
    # then each reason is logged once
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records if record.levelname == "ERROR"] == [
        "a worker died",
        "the trial died",
    ]
    # and when it can be loaded it is
    loading.bundles[2] = shadow
    assert [variant.role for variant in loading.follow(1, champion=1, shadow=2).variants] == ["champion", "shadow"]
    assert loading.loader.errors == {}


@pytest.mark.usefixtures("slow")
def test_one_bundle_may_be_a_shadow_and_kept_warm(loading: Loading) -> None:
    table = loading.follow(1, 2, champion=1, shadow=2)
    (warm,), shadow = table.warm, bundle_of(table, 2)
    assert (warm.aside, shadow.aside) == (False, True)
    process = process_of(shadow)
    after = loading.follow(2, 2, champion=1)
    assert after.warm == (warm,)
    del table, shadow
    loading.loader.close_dropped()
    assert not process.is_running()
    np.testing.assert_allclose(warm.scorer.score(ROWS), [0.2, 0.5])


@pytest.mark.usefixtures("slow")
def test_a_shadow_whose_process_does_not_start_scores_here(
    loading: Loading, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with caplog.at_level(logging.WARNING):
        shadow = bundle_of(loading.follow(1, champion=1, shadow=2), 2)
    assert "a shadow scores in the gateway's own process" in caplog.text
    assert (shadow.scorer.in_process, shadow.inline) == (True, False)
    np.testing.assert_allclose(shadow.scorer.score(ROWS), [0.2, 0.5])


@pytest.mark.usefixtures("slow")
def test_closing_the_loader_ends_all_processes(loading: Loading) -> None:
    table = loading.follow(1, champion=1, shadow=2)
    process = process_of(bundle_of(table, 2))
    loading.loader.close()
    assert not process.is_running()


def test_a_shadow_that_is_slow_for_many_rows_is_not_quick(loading: Loading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_bundle, "QUICK_NS", 10**12)
    monkeypatch.setattr(loaded_bundle, "QUICK_BATCH_NS", 0)
    assert bundle_of(loading.follow(1, champion=1, shadow=2), 2).aside
