"""Bundles that serve no more are closed, once nobody scores with them, and loaded anew when they come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.bundle.spec import Task
from trimtab.serving.core import bundle_loading
from trimtab.serving.core.bundle_loading import Loader
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import RoutingTable
from trimtab.serving.core.vectorizer import NumericColumns
from trimtab.serving.orders import BundleOrder, ModelOrder, Serve, VariantOrder
from trimtab.testing.bundles import plain_spec

SPEC = plain_spec("delay", ["row"])


class Counted:
    """A scorer that counts how often it is closed."""

    task: Task = "binary"
    in_process = False

    def __init__(self) -> None:
        self.closed = 0

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.full(len(X), 0.5)

    def close(self) -> None:
        self.closed += 1
        raise RuntimeError("closing strangers' code may fail")


class Loading:
    """A loader over counted scorers, in the order in which they were opened."""

    def __init__(self) -> None:
        self.opened: list[tuple[int, Counted]] = []
        self.loader = Loader(self._load)

    def _load(self, order: BundleOrder, aside: bool) -> LoadedBundle:
        scorer, folder = Counted(), Path(order.folder)
        self.opened.append((order.version, scorer))
        return LoadedBundle(
            id=order.id,
            version=order.version,
            digest="",
            spec=SPEC,
            scorer=scorer,
            vectorizer=NumericColumns(folder, SPEC),
            recipe=(),
            folder=folder,
        )

    def champion(self, number: int, version: int) -> RoutingTable:
        """Follow a revision; return the table that serves then."""
        bundle = BundleOrder(f"delay/{version}", "delay", version, "nowhere", "")
        order = ModelOrder("delay", number, (VariantOrder("champion", 100.0, bundle),))
        return list(self.loader.follow(Serve((order,))))[-1]

    @property
    def closed(self) -> list[tuple[int, int]]:
        """Version and closes of each scorer."""
        return [(version, scorer.closed) for version, scorer in self.opened]


def test_what_no_table_holds_is_closed_once_when_it_is_not_in_use() -> None:
    bundle_loading = Loading()
    # given a request under way by version 1 while version 2 takes over
    under_way = bundle_loading.champion(1, 1).models["delay"].champion.bundle
    bundle_loading.champion(2, 2)
    bundle_loading.loader.close_dropped()
    assert bundle_loading.closed == [(1, 0), (2, 0)]
    # when it is done
    del under_way
    bundle_loading.loader.close_dropped()
    bundle_loading.loader.close_dropped()
    # then version 1 is closed, and once
    assert bundle_loading.closed == [(1, 1), (2, 0)]


def test_processes_do_not_pile_up_over_revisions() -> None:
    bundle_loading = Loading()
    for number in range(1, 6):
        bundle_loading.champion(number, number)
    bundle_loading.loader.close_dropped()
    assert bundle_loading.closed == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 0)]


def test_a_rollback_to_what_was_just_dropped_loads_it_anew() -> None:
    bundle_loading = Loading()
    late = bundle_loading.champion(1, 1).models["delay"].champion.bundle
    bundle_loading.champion(2, 2)
    back = bundle_loading.champion(3, 1).models["delay"].champion.bundle
    assert [version for version, _ in bundle_loading.opened] == [1, 2, 1]
    assert back is not late
    del late
    bundle_loading.loader.close_dropped()
    assert bundle_loading.closed == [(1, 1), (2, 1), (1, 0)]


def test_what_somebody_holds_for_ever_is_closed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_loading, "LONGEST_USE_S", 0.0)
    following = Loading()
    held = following.champion(1, 1).models["delay"].champion.bundle
    following.champion(2, 2)
    assert (following.closed, held.version) == ([(1, 1), (2, 0)], 1)
