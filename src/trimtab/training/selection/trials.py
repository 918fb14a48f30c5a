"""Searches parameters by trials on folds over time, with Optuna. A search that was killed goes on where it was.

The study is a journal in a file whose name is the hash of what its values depend on; the process that searches holds a
lock on it. Each trial gets a sampler seeded by the search's seed and the number of trials before it, and samplers look
at finished trials alone. So a trial whose process died is tried again with the same parameters, and the search ends
with those of one that ran through. A time limit or a budget depends on the machine, and may end two searches at
different trials.
"""

from __future__ import annotations

import fcntl
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trimtab import units
from trimtab.definitions.models import Model
from trimtab.errors import MissingExtra, StageError, TrainerFailed
from trimtab.lazy_library import LazyLibrary
from trimtab.metric_catalog import METRICS
from trimtab.policy.model import Prices
from trimtab.policy.search import Search, SearchRange
from trimtab.records.training import SearchResult
from trimtab.training.selection.time_splits import Split
from trimtab.training.selection.validated_fit import Addition, score_folds
from trimtab.training.usage import Meter, Usage

if TYPE_CHECKING:
    import optuna
    import optuna.storages.journal as journals
else:
    optuna, journals = LazyLibrary("optuna"), LazyLibrary("optuna.storages.journal")

Direction = Literal["maximize", "minimize"]

FAILED_AT_FIRST = 3
"""When so many trials fail before any is scored, the search ends with their error."""
ERROR, CPU, WALL, COST = "error", "cpu_seconds", "wall_seconds", "cost"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A finished trial. values: running mean of the metric after each fold. value: the last; None when it failed."""

    number: int
    state: str
    """complete, pruned or failed."""
    params: Mapping[str, Any]
    value: float | None
    values: tuple[float, ...]
    error: str
    usage: Usage
    cost: float


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What each trial does: fit with its parameters added to `params` on each fold, and score."""

    model: Model
    folds: Sequence[Split]
    params: Mapping[str, Any]
    seed: int
    addition: Addition
    threshold: float


def search(
    policy: Search,
    objective: Objective,
    *,
    key: str,
    metric: str,
    file: Path,
    prices: Prices,
    watch: Callable[[Trial, bool], None],
) -> SearchResult:
    """Try sets of parameters until the policy's number of trials is finished, and return the best.

    Args:
        policy: the section `training.search`.
        objective: what a trial does.
        key: hash of all that the values depend on; trials of the same key that are finished are not repeated.
        metric: by which trials are compared.
        file: the journal of the study.
        prices: what computing costs.
        watch: gets each finished trial, and whether an earlier process had finished it.

    Raises:
        StageError: no trial could be scored; names the first error.
        MissingExtra: Optuna is not installed.
    """
    with _opened(file, key, metric) as study:
        for left in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(left.number, state=optuna.trial.TrialState.FAIL)  # its process died; it is tried again
        done = _finished(study)[: policy.trials]
        for trial in done:
            watch(trial, True)
        while not (ended := _ended(policy, done, key=key)) and len(done) < policy.trials:
            _try(study, policy, objective, len(done), metric, prices)
            done = _finished(study)
            watch(done[-1], False)
    scored = [trial for trial in done if trial.state == "complete" and trial.value is not None]
    if not scored:
        first = next((trial.error for trial in done if trial.error), ended)
        raise StageError(f"model '{objective.model.name}': training.search scored no trial of {len(done)}: {first}")
    sign = 1 if METRICS[metric].higher_is_better else -1
    best = max(scored, key=lambda trial: sign * (trial.value or 0.0))
    return SearchResult(
        key=key,
        metric=metric,
        value=best.value or 0.0,
        params=dict(best.params),
        best=best.number,
        trials=len(done),
        pruned=sum(trial.state == "pruned" for trial in done),
        failed=sum(trial.state == "failed" for trial in done),
        folds=len(objective.folds),
        cpu_seconds=sum(trial.usage.cpu_seconds for trial in done),
        wall_seconds=sum(trial.usage.wall_seconds for trial in done),
        cost=sum(trial.cost for trial in done),
        ended=ended,
    )


class _Unlocked:
    """In place of a lock for each line of the journal: the process holds one on the whole file."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return


@contextmanager
def _opened(file: Path, key: str, metric: str) -> Iterator[optuna.Study]:
    """Open the study for this process alone; another one that searches the same is waited for."""
    if find_spec("optuna") is None:
        raise MissingExtra("optuna", "search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab+") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        journal.seek(0)
        journal.truncate(journal.read().rfind(b"\n") + 1)  # a process that died may have left half a line
        backend = journals.JournalFileBackend(str(file), lock_obj=_Unlocked())  # type: ignore[arg-type]  # has its verbs
        storage = journals.JournalStorage(backend)
        direction: Direction = "maximize" if METRICS[metric].higher_is_better else "minimize"
        yield optuna.create_study(study_name=key, storage=storage, direction=direction, load_if_exists=True)


def _finished(study: optuna.Study) -> list[Trial]:
    """Return the trials that count, in order. One whose process died is failed without an error, and does not count."""
    state = optuna.trial.TrialState
    found: list[Trial] = []
    names = {state.COMPLETE: "complete", state.PRUNED: "pruned", state.FAIL: "failed"}
    for trial in study.get_trials(deepcopy=False):
        used = trial.user_attrs
        if trial.state not in names or (trial.state == state.FAIL and ERROR not in used):
            continue
        values = tuple(trial.intermediate_values[step] for step in sorted(trial.intermediate_values))
        usage = Usage(cpu_seconds=used.get(CPU, 0.0), wall_seconds=used.get(WALL, 0.0), peak_memory_mb=0.0)
        found.append(
            Trial(
                number=len(found),
                state=names[trial.state],
                params=dict(trial.params),
                value=values[-1] if values and trial.state != state.FAIL else None,
                values=values,
                error=str(used.get(ERROR, "")),
                usage=usage,
                cost=used.get(COST, 0.0),
            )
        )
    return found


def _ended(policy: Search, done: Sequence[Trial], *, key: str) -> str:
    """Return why no further trial may start; empty while one may."""
    first = done[:FAILED_AT_FIRST]
    if len(first) == FAILED_AT_FIRST == len(done) and all(trial.state == "failed" for trial in first):
        return first[0].error
    wall, cpu = (sum(getattr(trial.usage, name) for trial in done) for name in (WALL, CPU))
    if policy.timeout is not None and wall >= policy.timeout / units.MICROS["s"]:
        return f"training.search.timeout of {units.short(policy.timeout)} after {len(done)} trials"
    if policy.budget.cpu is not None and cpu >= policy.budget.cpu / units.MICROS["s"]:
        return f"training.search.budget.cpu of {units.short(policy.budget.cpu)} after {len(done)} trials"
    if policy.budget.cost is not None and done and sum(trial.cost for trial in done) >= policy.budget.cost:
        return f"training.search.budget.cost of {policy.budget.cost:g} after {len(done)} trials"
    return ""


def _try(study: optuna.Study, policy: Search, objective: Objective, index: int, metric: str, prices: Prices) -> None:
    """Run one trial; its error is kept with it."""
    study.sampler = _sampler(policy, objective.seed if policy.seed is None else policy.seed, index)
    study.pruner = optuna.pruners.MedianPruner() if policy.pruner == "median" else optuna.pruners.NopPruner()
    trial = study.ask({name: _distribution(values) for name, values in policy.space.items()})
    state, error, values = optuna.trial.TrialState.COMPLETE, "", []
    with Meter() as meter:
        try:
            params = {**objective.params, **trial.params}
            scored = score_folds(
                objective.model,
                objective.folds,
                params,
                objective.seed,
                objective.addition,
                metrics=(metric,),
                threshold=objective.threshold,
            )
            for step, fold in enumerate(scored):
                if metric not in fold.metrics:
                    raise StageError(f"{metric} is not defined on fold {step + 1}")
                values.append(fold.metrics[metric])
                trial.report(math.fsum(values) / len(values), step)
                if step + 1 < len(objective.folds) and trial.should_prune():
                    state = optuna.trial.TrialState.PRUNED
                    break
        except (StageError, TrainerFailed) as failed:
            state, error = optuna.trial.TrialState.FAIL, str(failed)
    used = {CPU: meter.usage.cpu_seconds, WALL: meter.usage.wall_seconds, COST: meter.usage.cost(prices)}
    for name, value in ({**used, ERROR: error} if error else used).items():
        trial.set_user_attr(name, value)
    complete = state == optuna.trial.TrialState.COMPLETE
    study.tell(trial, math.fsum(values) / len(values) if complete else None, state=state)


def _sampler(policy: Search, seed: int, index: int) -> optuna.samplers.BaseSampler:
    own = int(np.random.SeedSequence([seed % 2**32, index]).generate_state(1)[0])
    if policy.sampler == "random":
        return optuna.samplers.RandomSampler(seed=own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=own, constant_liar=False)


def _distribution(values: SearchRange) -> optuna.distributions.BaseDistribution:
    if values.choices is not None:
        return optuna.distributions.CategoricalDistribution(values.choices)
    assert values.low is not None
    assert values.high is not None
    if values.whole_numbers:
        return optuna.distributions.IntDistribution(values.low, values.high, log=values.log, step=values.step or 1)
    low, high = float(values.low), float(values.high)
    return optuna.distributions.FloatDistribution(low, high, log=values.log, step=values.step)
