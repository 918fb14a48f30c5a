"""Turns orders into routing tables: loads bundles, keeps what serves when that fails. Belongs to a worker's thread.

Orders take effect when all of their bundles are verified, loaded and warm; until then, and when that fails,
the worker goes on with what it has. The champion before is loaded last, so that nothing waits for it.

A bundle that no table holds any more is closed when it is not in use either: requests that are under way,
comparisons and explanations may still score with it. It is never used again; a later order loads it anew.

A shadow that is not quick scores in a process of its own, which is no place to answer from: when it becomes a
challenger or the champion it is loaded here, and its process ends like any bundle that no table holds.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterator
from typing import NamedTuple

from trimtab.bundle.scorer import Scorer
from trimtab.errors import DataError, TrimtabError
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable, RoutingTable, Variant
from trimtab.serving.orders import BundleOrder, ModelOrder, Serve, VariantOrder

logger = logging.getLogger(__name__)

Load = Callable[[BundleOrder, bool], LoadedBundle]
"""Takes what to load, and whether no client gets its answers."""

ASIDE = "shadow"
"""The role whose answers no client gets."""
LONGEST_USE_S = 300.0
"""So long after it was dropped a bundle is closed even when it is still referred to."""


class Dropped(NamedTuple):
    """The scorer of a bundle that no table holds, to be closed."""

    id: str
    scorer: Scorer
    bundle: weakref.ref[LoadedBundle]
    """Dead when the bundle is not in use any more."""
    due: float
    """Closed then at the latest, as `time.monotonic` has it."""


class Loader:
    """The tables of a worker."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._bundles: dict[tuple[str, bool], LoadedBundle] = {}
        """By id, and whether it scores aside: for a while one bundle may be needed both ways."""
        self._tables: dict[str, ModelTable] = {}
        self._dropped: list[Dropped] = []
        self.errors: dict[str, str] = {}
        """By model: why it does not serve its newest revision."""

    def follow(self, serve: Serve) -> Iterator[RoutingTable]:
        """Yield each table that is to serve from now on; models whose bundles are loaded come first.

        A rollback so does not wait until another model's bundle is loaded.
        """
        held = set(serve.held)
        named = {order.model for order in serve.models}
        self._tables = {model: table for model, table in self._tables.items() if model in named - held}
        self.errors = {model: error for model, error in self.errors.items() if model in named}
        orders = [order for order in serve.models if order.model not in held]
        for order in sorted(orders, key=lambda order: not self._is_loaded(order)):
            self._take(order)
            yield self._table(serve)
        for order in orders:
            self._keep_warm(order)
        self._drop()
        self.close_dropped()
        yield self._table(serve)

    def close_dropped(self) -> None:
        """Close bundles that were dropped and are not in use; called now and then by the thread that loads."""
        now, waiting, self._dropped = time.monotonic(), self._dropped, []
        for dropped in waiting:
            if dropped.bundle() is not None and now < dropped.due:
                self._dropped.append(dropped)
                continue
            try:
                dropped.scorer.close()
            except Exception as error:  # strangers' code; there is nothing left to do about it
                logger.warning("bundle %s could not be closed: %s", dropped.id, error)

    def close(self) -> None:
        """Close every bundle, also those in use, so that no process outlives the worker. Nothing is loaded then."""
        self._tables = {}
        self._drop()
        self._dropped = [dropped._replace(due=0.0) for dropped in self._dropped]
        self.close_dropped()

    def _drop(self) -> None:
        """Let go of what no table holds."""
        held = {(bundle.id, bundle.aside): bundle for table in self._tables.values() for bundle in table.bundles}
        due = time.monotonic() + LONGEST_USE_S
        for key, bundle in self._bundles.items():
            if held.get(key) is not bundle:
                self._dropped.append(Dropped(bundle.id, bundle.scorer, weakref.ref(bundle), due))
        self._bundles = held

    def _table(self, serve: Serve) -> RoutingTable:
        wanted = {order.model for order in serve.models} - set(serve.held)
        return RoutingTable(
            models=dict(self._tables),
            errors=dict(self.errors),
            held=tuple(sorted(serve.held)),
            complete=self._tables.keys() >= wanted,
        )

    def _is_loaded(self, order: ModelOrder) -> bool:
        return all(self._found(variant.bundle, aside=variant.role == ASIDE) is not None for variant in order.variants)

    def _take(self, order: ModelOrder) -> None:
        serving = self._tables.get(order.model)
        if serving is not None and serving.serves(order) and order.model not in self.errors:
            return
        known = self.errors.pop(order.model, None)
        try:
            if order.error:
                raise DataError(order.error)
            self._tables[order.model] = self._model_table(order, serving, known)
        except TrimtabError as error:
            self._note(order, error, known)
            if serving is None and order.before:
                self._take_before(order)
        else:
            logger.info("model %s: revision %d serves", order.model, order.revision)

    def _note(self, order: ModelOrder, error: TrimtabError, known: str | None) -> None:
        """Keep why a model cannot serve its newest revision, and log it unless it is known."""
        serving = self._tables.get(order.model)
        self.errors[order.model] = f"revision {order.revision}: {error}"
        if self.errors[order.model] == known:
            return
        goes_on = f"revision {serving.revision} goes on serving" if serving else "nothing serves it"
        logger.error("model %s, revision %d cannot serve; %s: %s", order.model, order.revision, goes_on, error)

    def _take_before(self, order: ModelOrder) -> None:
        try:
            variants = [self._variant(variant) for variant in order.before]
        except TrimtabError as error:
            logger.error("model %s: what served before cannot be loaded either: %s", order.model, error)
        else:
            self._tables[order.model] = ModelTable(order.model, order.before_revision, variants, sticky=order.sticky)
            logger.warning("model %s: revision %d serves instead", order.model, order.before_revision)

    def _model_table(self, order: ModelOrder, serving: ModelTable | None, known: str | None) -> ModelTable:
        """Return the table of an order; without the variants that fail, where nothing or no other revision serves."""
        another = serving is not None and serving.revision != order.revision
        variants = []
        for variant in order.variants:
            try:
                variants.append(self._variant(variant))
            except TrimtabError as error:
                if another or variant.role == "champion":
                    raise
                self.errors[order.model] = f"revision {order.revision} serves without its {variant.role}: {error}"
                if self.errors[order.model] != known:
                    logger.error("model %s: %s", order.model, self.errors[order.model])
        warm = None if order.warm is None else self._found(order.warm, aside=False)
        return ModelTable(
            order.model,
            order.revision,
            variants,
            sticky=order.sticky,
            warm=[] if warm is None else [warm],
            cuts=order.cuts,
        )

    def _keep_warm(self, order: ModelOrder) -> None:
        table = self._tables.get(order.model)
        if table is None or table.revision != order.revision:
            return
        wanted = [] if order.warm is None else [order.warm]
        if [bundle.id for bundle in table.warm] == [bundle.id for bundle in wanted]:
            return
        try:
            warm = [self._bundle(bundle) for bundle in wanted]
        except TrimtabError as error:
            logger.warning("model %s: the champion before cannot be kept warm: %s", order.model, error)
        else:
            self._tables[order.model] = table.with_warm(warm)

    def _variant(self, variant: VariantOrder) -> Variant:
        return Variant(variant.role, self._bundle(variant.bundle, aside=variant.role == ASIDE), variant.weight)

    def _bundle(self, order: BundleOrder, *, aside: bool = False) -> LoadedBundle:
        found = self._found(order, aside=aside)
        if found is None:
            if order.error:
                raise DataError(order.error)
            found = self._load(order, aside)
            self._bundles[order.id, found.aside] = found
        return found

    def _found(self, order: BundleOrder, *, aside: bool) -> LoadedBundle | None:
        """Return a bundle that is loaded and fits the place; a quick one stays here whatever it does."""
        here = self._bundles.get((order.id, False))
        if here is not None and (here.quick or not aside):
            return here
        return self._bundles.get((order.id, True)) if aside else None
