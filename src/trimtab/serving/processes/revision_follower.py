"""Turns the revisions of the metadata store into orders for the workers.

It fetches bundles to this machine; the workers verify them when they load them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Literal

from trimtab.clock import Clock
from trimtab.errors import NotFound, TrimtabError
from trimtab.records.serving import Assignment, Revision
from trimtab.records.training import Bundle
from trimtab.serving.orders import BundleOrder, ModelOrder, VariantOrder
from trimtab.stores.artifacts.contract import Artifacts
from trimtab.stores.metadata.contract import Metadata, latest

logger = logging.getLogger(__name__)

BundleKind = Literal["model", "prompt"]
Inspect = Callable[[Path], None]
"""Checks a fetched bundle; raises a TrimtabError to refuse it."""
RETRY = timedelta(seconds=5)
"""Pause before a bundle that could not be fetched is fetched again, since fetching and checking one is costly."""


class Revisions:
    """Reads revisions and returns orders. Not thread-safe.

    kind: of the bundles that this gateway serves; None: any.
    """

    def __init__(
        self,
        metadata: Metadata,
        artifacts: Artifacts,
        clock: Clock,
        *,
        sticky: Sequence[str] | None = None,
        keep_warm: timedelta = timedelta(days=1),
        inspect: Inspect = lambda folder: None,
        kind: BundleKind | None = None,
    ) -> None:
        self._metadata = metadata
        self._artifacts = artifacts
        self._clock = clock
        self._sticky = None if sticky is None else tuple(sticky)
        self._keep_warm = keep_warm
        self._inspect = inspect
        self._kind = kind
        self._kinds: dict[str, BundleKind | None] = {}
        """Kind of bundle by model."""
        self._newest: str | None = None
        self._read = False
        self._orders: tuple[ModelOrder, ...] = ()
        self._history: dict[str, list[Revision]] = {}
        self._asked: dict[str, datetime] = {}
        """Model -> when its bundles were last fetched."""

    @property
    def history(self) -> dict[str, list[Revision]]:
        """Model -> all its revisions, newest first, as of the last poll."""
        return self._history

    def poll(self) -> tuple[ModelOrder, ...] | None:
        """Return the orders; None when they have not changed. Raises StoreError when the store cannot be reached."""
        newest = latest(self._metadata, Revision)
        if not self._read or (newest is not None and newest.id != self._newest):
            self._history = {}
            for revision in self._metadata.find(Revision):
                if self._kind is not None and self._kind_of(revision) not in (self._kind, None):
                    continue
                self._history.setdefault(revision.model, []).append(revision)
        orders = tuple(self._order(revisions) for revisions in self._history.values())
        self._newest = newest.id if newest is not None else None
        if self._read and orders == self._orders:
            return None
        self._read, self._orders = True, orders
        return orders

    def _kind_of(self, revision: Revision) -> BundleKind | None:
        """Return the kind of a model's bundles; None where a revision names no bundle that is known."""
        if self._kinds.get(revision.model) is None:
            champion = revision.bundle_in("champion")
            try:
                found = None if champion is None else self._metadata.get(Bundle, champion).kind
            except NotFound:
                found = None
            self._kinds[revision.model] = found
        return self._kinds[revision.model]

    def _order(self, revisions: Sequence[Revision]) -> ModelOrder:
        now = revisions[0]
        before = restorable(revisions)
        kept = before is not None and self._clock.now() - now.created_at < self._keep_warm
        champion = None if before is None else before.bundle_in("champion")
        known = next((order for order in self._orders if order.model == now.model), None)
        if known is not None and known.revision == now.number:
            as_wanted = not known.error and (known.warm is not None) == kept
            failed = bool(known.error) or (kept and known.warm is None)
            if as_wanted or (failed and self._clock.now() - self._asked[now.model] < RETRY):
                return known
        self._asked[now.model] = self._clock.now()
        variants, error = self._variants(now)
        if error and (known is None or known.error != error):
            logger.error("model %s, revision %d: %s", now.model, now.number, error)
        return ModelOrder(
            model=now.model,
            revision=now.number,
            variants=variants,
            error=error,
            sticky=self._sticky,
            warm=self._try_bundle(champion) if kept and champion is not None else None,
            before=self._try_variants(before),
            before_revision=0 if before is None else before.number,
            cuts=now.cut,
        )

    def _variants(self, revision: Revision) -> tuple[tuple[VariantOrder, ...], str]:
        """Return the variants of a revision; without any, the reason why."""
        if revision.bundle_in("champion") is None:
            return (), f"{revision.id} assigns no champion"
        try:
            return tuple(self._variant(assignment) for assignment in revision.assignments), ""
        except TrimtabError as error:
            return (), str(error)

    def _try_variants(self, revision: Revision | None) -> tuple[VariantOrder, ...]:
        if revision is None:
            return ()
        try:
            return tuple(self._variant(each) for each in revision.assignments if each.role == "champion")
        except TrimtabError:
            return ()

    def _variant(self, assignment: Assignment) -> VariantOrder:
        return VariantOrder(assignment.role, assignment.weight, self._bundle(assignment.bundle))

    def _try_bundle(self, name: str) -> BundleOrder | None:
        try:
            return self._bundle(name)
        except TrimtabError as error:
            logger.warning("bundle %s cannot be kept warm: %s", name, error)
            return None

    def _bundle(self, name: str) -> BundleOrder:
        record = self._metadata.get(Bundle, name)
        folder = self._artifacts.open(record.path)
        self._inspect(folder)
        return BundleOrder(record.id, record.model, record.version, str(folder), record.digest)


def restorable(revisions: Sequence[Revision]) -> Revision | None:
    """Return the revision that a rollback restores: the newest earlier one with another champion; None without one.

    revisions: of one model, newest first. A champion that a rollback ended is skipped.
    """
    champion = revisions[0].bundle_in("champion")
    passed = {None, champion}
    for after, revision in pairwise(revisions):
        found = revision.bundle_in("champion")
        if found in passed:
            continue
        if after.action != "rollback":
            return revision
        passed.add(found)
    return None
