"""Makes a model of a simulated world: rows known by then, fit, gates on the holdout, fit on all of them, reference.

The steps are those of the retraining workflow. Estimators score by themselves: no graph is made and no bundle packed.
So the performance gate, which measures a packed bundle in a process of its own, is not among the gates here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.app.backtest.labelled_history import History, Mask
from trimtab.app.backtest.training_cache import NativeScorer, RowScores, Training, TrainingCache, threshold_of
from trimtab.clock import from_micros
from trimtab.errors import GateRefused, StageError
from trimtab.gates.held_out import held_out_windows
from trimtab.gates.inputs import GateInputs
from trimtab.gates.table import evaluate
from trimtab.metric_catalog import compared_metrics
from trimtab.monitoring.reference import Reference, build_reference
from trimtab.monitoring.row_money import prices
from trimtab.policy.gates import Gates
from trimtab.policy.model import Policy
from trimtab.records.gate_reports import GateResult, HeldOutWindow
from trimtab.tasks import RULES
from trimtab.training.columns.category_features import category_features
from trimtab.training.dataset import split_time
from trimtab.training.refit import compare
from trimtab.training.rounds import more_rounds
from trimtab.training.selection.calibrators import plain
from trimtab.training.selection.validated_fit import Addition, addition_of

NO_FOLDER = Path()
"""No gate that runs here reads the packed candidate."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a training depends on in addition to its rows."""

    policy: Policy
    gates: Gates
    """Those that are judged."""
    monitored: bool
    """Whether windows of the model are compared with a reference."""
    personal: frozenset[str] = frozenset()
    """Columns and features with personal data."""

    @property
    def judged(self) -> bool:
        """Return True if any gate is judged."""
        return bool(self.gates.sections())


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that passed its gates."""

    cache: TrainingCache
    recipe: Recipe
    known: Mask
    """Labelled rows that it was made of."""
    frame: Mask
    """All rows of that time that are not held, with and without label."""
    split_at: int
    """Rows before it are those that the judged model was fitted on, in microseconds."""
    judged: Training | None
    """The model that the gates saw; None when there was nothing to judge."""
    training: Training
    """The model that serves."""
    results: tuple[GateResult, ...]
    held_out: tuple[HeldOutWindow, ...]
    """How much better it was than the champion, in windows that neither was trained on."""
    without: tuple[tuple[int, int], ...]
    """Stretches of event time whose rows were left out, in microseconds."""
    trained_until: int
    """The model that serves was trained on no row from here on."""

    @property
    def cpu_seconds(self) -> float:
        """Processor time of its trainings."""
        made = {each.key: each.cpu_seconds for each in (self.judged, self.training) if each is not None}
        return sum(made.values())

    @cached_property
    def scores(self) -> RowScores:
        """Scores of all rows of the history."""
        return RowScores(self.cache.history, self.training)

    @cached_property
    def reference(self) -> Reference | None:
        """The windows of its training span; None when it is not monitored."""
        if not self.recipe.monitored or self.judged is None:
            return None
        history, policy = self.cache.history, self.recipe.policy
        early = self.frame & (history.at < self.split_at)
        late = self.frame & (history.at >= self.split_at)
        train = self.known & (history.at < self.split_at)
        scores = np.full(history.score_shape, np.nan)
        scores[early] = self.cache.cross_scores(
            train,
            early,
            policy.training.params,
            policy.training.seed,
            addition=addition_of(policy.training, history.task),
            judged=self.judged,
        )
        scores[early] -= self.judged.cut
        scores[late] = self.cache.scorer(self.judged).score(history.X[late])
        y = np.where(self.known, history.y, np.nan)
        return build_reference(
            history.X[self.frame],
            scores[self.frame],
            y[self.frame],
            history.at[self.frame],
            history.names,
            window=policy.decide.window,
            task=history.task,
            threshold=threshold_of(policy, history.task, self.judged),
            classes=history.classes,
            costs=prices(policy.impact, history.task, self.cache.model.money),
            impact_function=self.cache.model.money,
            categories=category_features(self.cache.model, history.X[self.frame], self.cache.kinds),
        )


def make_candidate(
    cache: TrainingCache,
    recipe: Recipe,
    *,
    as_of: int,
    without: Sequence[tuple[int, int]] = (),
    champion: Candidate | None = None,
    compared: bool = False,
) -> Candidate:
    """Return the model that is trained with what is known at a time, in microseconds.

    without: stretches of event time whose rows are left out. champion: what the gates compare it with, on rows that it
    was not trained on. compared: it will be compared with the champion before it serves, so windows of the holdout are
    kept as evidence. Raises StageError or DataError where the rows do not do, TrainerFailed, GateRefused.
    """
    history, policy = cache.history, recipe.policy
    start = as_of - policy.training.history if policy.training.history else None
    known = history.known(as_of, start=start, held=without)
    if (labelled := int(known.sum())) < policy.training.min_examples:
        raise StageError(
            f"{labelled:,} labelled rows are known by {from_micros(as_of):%Y-%m-%d %H:%M}; training.min_examples asks "
            f"for {policy.training.min_examples:,}"
        )
    split_at = split_time(history.at[known], history.y[known], cache.model, policy.training.holdout, history.classes)
    params, seed = policy.training.params, policy.training.seed
    early = known & (history.at < split_at)
    refit = policy.training.refit == "after_gates"
    needed = recipe.judged or recipe.monitored or not refit
    addition = addition_of(policy.training, history.task)
    judged = cache.fit(early, params, seed, addition=addition) if needed else None
    inputs = None
    if judged is not None and (recipe.judged or compared):
        inputs = _inputs(history, recipe, known & ~early, judged, champion)
    results = _judge(inputs, recipe) if inputs is not None and recipe.judged else ()
    training = _refitted(cache, known, early, params, seed, judged, addition) if refit or judged is None else judged
    return Candidate(
        cache=cache,
        recipe=recipe,
        known=known,
        frame=_frame(history, as_of, start, without),
        split_at=split_at,
        judged=judged,
        training=training,
        results=results,
        held_out=()
        if inputs is None or champion is None or not compared
        else _held_out(inputs, recipe, champion, split_at, as_of),
        without=tuple(without),
        trained_until=split_at if training is judged else as_of,
    )


def _refitted(
    cache: TrainingCache,
    known: Mask,
    early: Mask,
    params: Mapping[str, Any],
    seed: int,
    judged: Training | None,
    addition: Addition,
) -> Training:
    """Return the fit on all known rows; the judged model where the fit differs too much from it.

    addition: what the policy adds to a fit.
    """
    if judged is None:
        return cache.fit(known, params, seed, addition=addition)
    found = cache.fit(known, params, seed, addition=addition, judged=judged)
    stopped = judged.rounds if addition.validation is not None else None
    if stopped is not None and more_rounds(plain(found.estimator), stopped) is not None:
        return judged
    history, task = cache.history, cache.history.task
    rows, holdout = history.rows(known), history.rows(known & ~early)
    compared = compare(cache.scorer(found), cache.scorer(judged), rows, holdout, task)
    return found if compared.refused is None else judged


def _frame(history: History, as_of: int, start: int | None, held: Sequence[tuple[int, int]]) -> Mask:
    found: Mask = history.at < as_of
    if start is not None:
        found &= history.at >= start
    for begin, end in held:
        found &= (history.at < begin) | (history.at >= end)
    return found


def _inputs(
    history: History, recipe: Recipe, holdout: Mask, judged: Training, champion: Candidate | None
) -> GateInputs:
    data = history.rows(holdout)
    return GateInputs(
        X=data.X,
        y=data.y,
        timestamps=data.timestamps,
        feature_names=history.names,
        candidate=NativeScorer(judged, history.task, len(history.classes)),
        classes=history.classes if RULES[history.task].by_class else (),
        folder=NO_FOLDER,
        threshold=threshold_of(recipe.policy, history.task, judged),
        seed=recipe.policy.training.seed,
        personal=recipe.personal,
        groups={name: values[holdout] for name, values in history.groups.items()},
        champion=NativeScorer(champion.training, history.task, len(history.classes)) if champion else None,
        champion_seen_until=from_micros(champion.trained_until) if champion else None,
    )


def _judge(inputs: GateInputs, recipe: Recipe) -> tuple[GateResult, ...]:
    results = evaluate(inputs, recipe.gates)
    failing = [f"{result.gate}: {result.reason}" for result in results if result.verdict == "fail"]
    if failing:
        raise GateRefused("; ".join(failing))
    return results


def _held_out(
    inputs: GateInputs, recipe: Recipe, champion: Candidate, split_at: int, as_of: int
) -> tuple[HeldOutWindow, ...]:
    decide, metric = recipe.policy.decide, recipe.policy.rollout.promote_when.metric
    return held_out_windows(
        inputs,
        metrics=compared_metrics(inputs.task, metric),
        window=decide.window,
        start=max(split_at, champion.trained_until),
        end=as_of - decide.labels_mature_after,
    )
