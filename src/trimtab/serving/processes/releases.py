"""Which orders may be handed to the workers: those whose bundles are known to do no harm. Kept by supervisor.

A bundle that kills or holds up the process that loads it would take down one worker after another. So what workers
load while some of them serve was tried in a process of its own before (trials). At a start, when nothing serves yet,
nothing waits for that: whatever a worker loads while it dies is suspected then, and tried before it is loaded again.

A bundle that is refused is handed on marked with the reason, which to a worker is the same as a bundle that cannot be
loaded: what serves goes on, a start goes on without a shadow or challenger, or with the champion before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from trimtab.serving.orders import BundleOrder, ModelOrder, VariantOrder

Key = tuple[str, str]
"""Name and digest of a bundle."""

FIRST_PAUSE_S = 5.0
"""Pause before a refused bundle is tried again; it doubles from one failure to the next."""
LONGEST_PAUSE_S = 60.0
LONGEST_PAUSE_AFTER_DEATH_S = 600.0
FORGET_S = 3600.0
"""A bundle that failed last so long ago begins anew: a worker may have been killed for quite another reason."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Failures:
    """What is held against a bundle."""

    error: str = ""
    count: int = 0
    last: float = 0.0
    due: float = 0.0
    """When it is tried again."""


class Releases:
    """Turns what should serve into what may be handed out. Not safe to share between threads; times are monotonic."""

    def __init__(self) -> None:
        self._wanted: tuple[ModelOrder, ...] = ()
        self._released: dict[str, ModelOrder] = {}
        """By model: the newest order that was handed out."""
        self._cleared: set[Key] = set()
        """Bundles that were tried well, or handed out at a start and not suspected since."""
        self._failures: dict[Key, _Failures] = {}

    def want(self, orders: tuple[ModelOrder, ...]) -> None:
        """Take what should serve."""
        self._wanted = orders

    def orders(self, *, serving: bool) -> tuple[ModelOrder, ...]:
        """Return what the workers are to be told; a model whose new bundles are not tried yet stays as it was.

        serving: whether any worker serves. When none does, a model that was never handed out goes untried.
        """
        out = []
        for order in self._wanted:
            if not serving and order.model not in self._released:
                self._cleared |= {bundle.key for bundle in _bundles(order)} - self._refused()
            if not any(self._is_unknown(variant.bundle) for variant in order.variants):
                self._released[order.model] = order
            if (released := self._released.get(order.model)) is not None:
                out.append(self._marked(released))
        return tuple(out)

    def due(self, now: float) -> list[BundleOrder]:
        """Return the bundles that are to be tried, the most wanted first."""
        found: dict[Key, BundleOrder] = {}
        for bundle in (bundle for order in self._wanted for bundle in self._needed(order)):
            failures = self._failures.get(bundle.key)
            if self._is_unknown(bundle) or (bundle.key in self._refused() and failures and failures.due <= now):
                found.setdefault(bundle.key, bundle)
        return list(found.values())

    def clear(self, bundle: BundleOrder) -> None:
        """Note that a bundle was tried, and does no harm."""
        self._cleared.add(bundle.key)
        if (failures := self._failures.get(bundle.key)) is not None and failures.error:
            failures.error = ""
            logger.warning("bundle %s was tried again, and can be loaded now", bundle.id)

    def refuse(self, bundle: BundleOrder, error: str, *, died: bool, now: float) -> None:
        """Note that a trial failed: why, and whether it took its process along."""
        failures = self._note(bundle.key, error, now)
        longest = LONGEST_PAUSE_AFTER_DEATH_S if died else LONGEST_PAUSE_S
        failures.due = now + min(longest, FIRST_PAUSE_S * 2.0 ** (failures.count - 1))
        logger.error("bundle %s is refused, and tried again in %g s: %s", bundle.id, failures.due - now, error)

    def suspect(self, key: Key, error: str, *, now: float) -> None:
        """Note that a worker died with a bundle half loaded. The first time it is tried at once.

        Workers that were loading it at the same time die together: that is one death.
        """
        logger.error("%s", error)
        if key in self._refused():
            return
        failures = self._note(key, error, now)
        pause = FIRST_PAUSE_S * 2.0 ** (failures.count - 2) if failures.count > 1 else 0.0
        failures.due = now + min(LONGEST_PAUSE_AFTER_DEATH_S, pause)

    def outlived(self, key: Key) -> None:
        """Note that a worker has loaded a bundle: a later death meanwhile is more likely to have another cause."""
        if key in self._cleared:
            self._failures.pop(key, None)

    def _note(self, key: Key, error: str, now: float) -> _Failures:
        self._cleared.discard(key)
        failures = self._failures.setdefault(key, _Failures())
        if now - failures.last > FORGET_S:
            failures.count = 0
        failures.error, failures.last = error, now
        failures.count += 1
        return failures

    def _refused(self) -> set[Key]:
        return {key for key, failures in self._failures.items() if failures.error}

    def _is_unknown(self, bundle: BundleOrder) -> bool:
        failures = self._failures.get(bundle.key)
        return bundle.key not in self._cleared and not (failures and failures.error)

    def _needed(self, order: ModelOrder) -> Iterator[BundleOrder]:
        """Return what an order needs: what served before only when something newer is refused."""
        yield from (variant.bundle for variant in order.variants)
        if order.warm is not None:
            yield order.warm
        refused = self._refused()
        if order.error or any(variant.bundle.key in refused for variant in order.variants):
            yield from (variant.bundle for variant in order.before)

    def _marked(self, order: ModelOrder) -> ModelOrder:
        """Return an order with its refused bundles marked, and without those that nothing depends on."""
        warm, before = order.warm, order.before
        if warm is not None and warm.key not in self._cleared:
            warm = None
        if any(self._is_unknown(variant.bundle) for variant in before):
            before = ()
        return msgspec.structs.replace(
            order, variants=self._marked_variants(order.variants), warm=warm, before=self._marked_variants(before)
        )

    def _marked_variants(self, variants: Sequence[VariantOrder]) -> tuple[VariantOrder, ...]:
        return tuple(
            msgspec.structs.replace(variant, bundle=self._marked_bundle(variant.bundle)) for variant in variants
        )

    def _marked_bundle(self, bundle: BundleOrder) -> BundleOrder:
        failures = self._failures.get(bundle.key)
        return msgspec.structs.replace(bundle, error=failures.error) if failures and failures.error else bundle


def _bundles(order: ModelOrder) -> Iterable[BundleOrder]:
    yield from (variant.bundle for variant in (*order.variants, *order.before))
    if order.warm is not None:
        yield order.warm
