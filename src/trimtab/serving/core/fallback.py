"""Chooses what answers for a variant that fails or is slow.

In order: the champion, the champion before while it is warm, the rule that the project declares, a fixed score. The
rule is the one in the champion's bundle. It runs here, on the event loop, and needs no features.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from trimtab.errors import DataError
from trimtab.serving.core.in_flight import RowGroup
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable, Variant
from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.worker_options import Fallbacks

logger = logging.getLogger(__name__)


class Rule(Protocol):
    """What a project answers when no model does."""

    @property
    def name(self) -> str:
        """What the project calls it."""
        ...

    def scores(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> list[float]:
        """Return one finite score a row from the columns of a request, each row as of its time `at` (microseconds).

        Raises DataError when the request lacks what the rule takes. Anything else is a fault of the rule, and names it.
        """
        ...


@runtime_checkable
class Ruled(Protocol):
    """A vectorizer whose project declares a rule, or could."""

    @property
    def rule(self) -> Rule | None:
        """What answers when the model cannot."""
        ...


class Fallback:
    """Finds the next group for one that failed. Lives on one event loop."""

    def __init__(self, policy: Fallbacks, metrics: Metrics) -> None:
        self._policy = policy
        self._metrics = metrics
        self._told: WeakSet[LoadedBundle] = WeakSet()
        """Bundles whose rule has failed: only its first failure is written to the gateway's log, with a traceback."""
        self._last: WeakKeyDictionary[ModelTable, Variant] = WeakKeyDictionary()

    def instead_of(self, failed: RowGroup) -> RowGroup | None:
        """Return the group that answers for a failed or overdue one, or None when no fallback is left.

        What a rule or the policy answers comes with its scores; other groups are to be scored.
        """
        if failed.overdue and failed.error is not None:
            return None  # all fallbacks were tried when it was overdue
        request, outcome = failed.request, failed.request.outcome
        outcome.exclude(failed.variant.bundle)
        variant = self._next_variant(failed)
        reason = outcome.fallback or f"version {failed.variant.bundle.version}: {failed.error or 'took too long'}"
        if variant is not None:
            then = RowGroup(request, variant, failed.indices, instead_of=failed)
        elif failed.not_taken:
            return None  # what no model takes is the client's to mend
        else:
            scores, note = self._without_model(failed)
            if scores is None:
                return None
            reason += "" if note in reason else note
            last = self._last_variant(request.table)
            then = RowGroup(request, last, failed.indices, instead_of=failed, scores=scores)
            if last.bundle.by_class:
                _give_classes(then, scores)
        failed.replaced()
        outcome.fall_back(reason)
        return then

    def _next_variant(self, failed: RowGroup) -> Variant | None:
        table, tried = failed.request.table, failed.request.outcome.tried
        previous_champion = self._policy.previous_champion and not failed.not_taken
        for variant in table.fallbacks(failed.variant, previous_champion=previous_champion):
            if variant.bundle not in tried and _fits(variant, table, failed):
                return variant
        return None

    def _without_model(self, failed: RowGroup) -> tuple[list[float] | None, str]:
        """Return the scores by the rule, else the fixed ones, else None; and a note on what the rule came to.

        Those of a multiclass model are indices of classes.
        Why a rule did not answer is added to the error of the failed group, and so to the prediction log.
        """
        bundle = failed.request.table.champion.bundle
        rule = bundle.vectorizer.rule if isinstance(bundle.vectorizer, Ruled) else None
        note = ""
        if rule is not None:
            try:
                return _by_rule(rule, failed, bundle), f"; fallback '{rule.name}' answered"
            except DataError as error:
                self._metrics.rule_failed(bundle.spec.model, "request", failed.rows)
                note = f"; fallback '{rule.name}' cannot answer: {error}"
            except (Exception, SystemExit) as error:  # strangers' code: the project's rule
                self._metrics.rule_failed(bundle.spec.model, "rule", failed.rows)
                self._tell(bundle, error)
                note = f"; {next(iter(str(error).splitlines()), type(error).__name__)}"
            failed.explain(note)
        value = self._policy.value
        if value is None:
            return None, note
        if bundle.by_class != isinstance(value, str) or (bundle.by_class and value not in bundle.spec.classes):
            return None, f"{note}; the fixed answer {value!r} does not fit the model"
        score = float(bundle.spec.classes.index(value)) if isinstance(value, str) else value
        return [score] * failed.rows, f"{note}; the fixed score answered"

    def _tell(self, bundle: LoadedBundle, error: BaseException) -> None:
        if bundle not in self._told:
            self._told.add(bundle)
            logger.error("bundle %s: %s; from now on its failures are counted only", bundle.id, error, exc_info=error)

    def _last_variant(self, table: ModelTable) -> Variant:
        """A variant of version 0, so that the log tells its rows from any model's."""
        if table not in self._last:
            self._last[table] = Variant(
                "fallback",
                LoadedBundle(
                    id=f"{table.model}/fallback",
                    version=0,
                    digest="",
                    spec=table.spec,
                    scorer=table.champion.bundle.scorer,
                    vectorizer=table.champion.bundle.vectorizer,
                    recipe=(),
                    folder=Path(),
                    by_class=table.champion.bundle.by_class,
                ),
            )
        return self._last[table]


def _fits(variant: Variant, table: ModelTable, failed: RowGroup) -> bool:
    """Features that came with the request are in the order of the champion's list."""
    return failed.request.features is None or variant.bundle.spec.features == table.spec.features


def _by_rule(rule: Rule, failed: RowGroup, bundle: LoadedBundle) -> list[float]:
    columns, at = failed.request.columns, failed.request.at
    if failed.indices is not None:
        columns = {name: [values[row] for row in failed.indices] for name, values in columns.items()}
        at = [at[row] for row in failed.indices]
    scores = rule.scores(columns, at)
    if bundle.by_class and (beyond := max(scores)) >= len(bundle.spec.classes):
        raise RuntimeError(f"fallback '{rule.name}' gave class {beyond:g}; the model has {len(bundle.spec.classes)}")
    return scores


def _give_classes(group: RowGroup, indices: Sequence[float]) -> None:
    """Answer each row with one class, whose probability is 1."""
    group.scored([1.0] * len(indices))
    group.give_probabilities(np.eye(len(group.variant.bundle.spec.classes))[np.array(indices, dtype=np.int64)])
