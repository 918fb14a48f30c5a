"""Which orders the workers may get: those whose bundles have shown that they do not crash the process that loads them.

A bundle that crashes or blocks its process would take down one worker after another. So while any worker serves, a new
bundle first passes a preflight in a process of its own. At a start no bundle waits for a preflight: one that a worker
was loading when it died is suspected then, and needs a preflight before it is loaded again.

The orders name a refused bundle with its error. Workers treat it like a bundle that cannot be loaded: they keep serving
what they serve. At a start they leave out a refused shadow or challenger, and serve the previous champion in place of a
refused champion.
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
"""Pause before the next preflight of a refused bundle; it doubles with each failure."""
LONGEST_PAUSE_S = 60.0
LONGEST_PAUSE_AFTER_DEATH_S = 600.0
FORGET_S = 3600.0
"""The failure count restarts after so long without one: a worker may have died for an unrelated reason."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Failures:
    """The failures of a bundle."""

    error: str = ""
    count: int = 0
    last: float = 0.0
    due: float = 0.0
    """Monotonic time of its next preflight."""


class Releases:
    """Decides which orders the workers get. Not thread-safe; times are monotonic seconds.

    trusting: a bundle needs a preflight only after a worker has died while it loaded it.
    """

    def __init__(self, *, trusting: bool = False) -> None:
        self._trusting = trusting
        self._wanted: tuple[ModelOrder, ...] = ()
        self._released: dict[str, ModelOrder] = {}
        """Model -> the newest order that the workers were given."""
        self._cleared: set[Key] = set()
        """Bundles that passed a preflight, or that workers got at a start and survived."""
        self._failures: dict[Key, _Failures] = {}

    def want(self, orders: tuple[ModelOrder, ...]) -> None:
        """Set the orders that should serve."""
        self._wanted = orders

    def orders(self, *, serving: bool) -> tuple[ModelOrder, ...]:
        """Return the orders for the workers; a model whose new bundles await their preflight keeps its last order.

        serving: whether any worker serves. When none does, the first order of a model needs no preflight.
        """
        out = []
        for order in self._wanted:
            if self._trusting or (not serving and order.model not in self._released):
                self._cleared |= {bundle.key for bundle in _bundles(order)} - self._refused()
            if not any(self._is_unknown(variant.bundle) for variant in order.variants):
                self._released[order.model] = order
            if (released := self._released.get(order.model)) is not None:
                out.append(self._marked(released))
        return tuple(out)

    def due(self, now: float) -> list[BundleOrder]:
        """Return the bundles that need a preflight now, in the order in which they are needed."""
        found: dict[Key, BundleOrder] = {}
        for bundle in (bundle for order in self._wanted for bundle in self._needed(order)):
            failures = self._failures.get(bundle.key)
            if self._is_unknown(bundle) or (bundle.key in self._refused() and failures and failures.due <= now):
                found.setdefault(bundle.key, bundle)
        return list(found.values())

    def clear(self, bundle: BundleOrder) -> None:
        """Record that a bundle passed its preflight."""
        self._cleared.add(bundle.key)
        if (failures := self._failures.get(bundle.key)) is not None and failures.error:
            failures.error = ""
            logger.warning("bundle %s was tried again, and can be loaded now", bundle.id)

    def refuse(self, bundle: BundleOrder, error: str, *, died: bool, now: float) -> None:
        """Record that a preflight failed. died: its process crashed or ran out of time, which lengthens the pauses."""
        failures = self._note(bundle.key, error, now)
        longest = LONGEST_PAUSE_AFTER_DEATH_S if died else LONGEST_PAUSE_S
        failures.due = now + min(longest, FIRST_PAUSE_S * 2.0 ** (failures.count - 1))
        logger.error("bundle %s is refused, and tried again in %g s: %s", bundle.id, failures.due - now, error)

    def suspect(self, key: Key, error: str, *, now: float) -> None:
        """Record that a worker died while it loaded a bundle. Its first preflight is due at once.

        Further deaths before that preflight count as the same one: several workers load a bundle at the same time.
        """
        logger.error("%s", error)
        if key in self._refused():
            return
        failures = self._note(key, error, now)
        pause = FIRST_PAUSE_S * 2.0 ** (failures.count - 2) if failures.count > 1 else 0.0
        failures.due = now + min(LONGEST_PAUSE_AFTER_DEATH_S, pause)

    def outlived(self, key: Key) -> None:
        """Record that a worker has loaded a bundle, which clears its earlier failures."""
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
        """Yield the bundles of an order; those that served before only when a newer one is refused."""
        yield from (variant.bundle for variant in order.variants)
        if order.warm is not None:
            yield order.warm
        refused = self._refused()
        if order.error or any(variant.bundle.key in refused for variant in order.variants):
            yield from (variant.bundle for variant in order.before)

    def _marked(self, order: ModelOrder) -> ModelOrder:
        """Return an order with the errors of refused bundles, and without optional bundles that passed no preflight."""
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
