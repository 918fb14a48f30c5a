"""Trainings of a backtest: each is made once, kept on disk, and shared between policies, processes and runs.

The key of a training is a hash of its rows, parameters, seed, code and of the versions of the libraries that train. The
processor time that was measured when it was made is kept with it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from trimtab.app.backtest.labelled_history import Floats, History, Mask
from trimtab.definitions.collection import collect
from trimtab.definitions.models import Dataset, Model, Task
from trimtab.definitions.personal_columns import personal_columns
from trimtab.policy.model import Policy
from trimtab.tasks import RULES
from trimtab.training.columns.objectives import level_of, objective_of
from trimtab.training.rounds import rounds_of, with_rounds
from trimtab.training.scores import cross_fit, flagging, native_scores
from trimtab.training.selection.calibrators import like, plain
from trimtab.training.selection.validated_fit import Addition, fit_validated
from trimtab.training.trainer import fit

T = TypeVar("T")

CHUNK_ROWS = 4096
"""Rows that are scored together, so that few calls of the estimator are made."""


@dataclass(frozen=True)
class Training:
    """A fitted estimator. cpu_seconds: measured when it was fitted. cut: score from which on a row is an anomaly."""

    key: str
    estimator: Any
    cpu_seconds: float
    cut: float = 0.0

    @property
    def rounds(self) -> int | None:
        """Rounds after which it stopped early, or None."""
        return rounds_of(plain(self.estimator))

    def adapted(self, estimator: Any) -> Any:
        """Return another fit with the calibration of this one, if it has one."""
        return estimator if plain(self.estimator) is self.estimator else like(self.estimator, estimator)


def threshold_of(policy: Policy, task: Task, training: Training) -> float:
    """Return the score from which on a model of a backtest decides for 1; of a regression the level of its quantile."""
    if RULES[task].output == "value":
        return level_of(objective_of(plain(training.estimator)))
    return 0.0 if RULES[task].output == "anomaly_score" else policy.impact.threshold


class NativeScorer:
    """The estimator itself as a Scorer, on float32 inputs as in serving. classes: how many a multiclass model has.

    Anomaly scores are those above the threshold of the training, so that 0 is the threshold of every version.
    """

    in_process = True

    def __init__(self, training: Training, task: Task, classes: int = 0) -> None:
        self._estimator = training.estimator
        self._cut = training.cut
        self._task = task
        self._classes = classes

    @property
    def task(self) -> Task:
        """The task of the model."""
        return self._task

    def score(self, X: npt.NDArray[Any]) -> Floats:
        """Return the scores of rows, float64, as `trimtab.tasks` says."""
        scores = native_scores(self._estimator, X, self._task, self._classes)
        return scores - self._cut if self._cut else scores

    def close(self) -> None:
        """Do nothing."""


class TrainingCache:
    """The trainings of one model on one history.

    Args:
        model: the model with its trainer.
        history: the rows.
        code: what the trainer depends on in addition to rows, parameters and seed, such as the text of its files.
        folder: where trainings are kept; None keeps them in memory alone.
        kinds: kind of each request column, by which features are counted as categories.
    """

    def __init__(
        self,
        model: Model,
        history: History,
        *,
        code: str,
        folder: Path | None,
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        self.model = model
        self.personal = personal_columns(collect({model.name: model}))
        self.history = history
        self.kinds = kinds or {}
        self._code = code
        self._folder = folder
        self._made: dict[str, Training] = {}
        self._crossed: dict[str, Floats] = {}

    def fit(
        self,
        rows: Mask,
        params: Mapping[str, Any],
        seed: int,
        *,
        addition: Addition | None = None,
        judged: Training | None = None,
    ) -> Training:
        """Return the training on some rows of the history. Raises TrainerFailed, StageError.

        addition: validation, calibration, and the share of rows that an anomaly model flags. judged: an earlier fit
        whose rounds and calibration are taken, without validation rows.
        """
        data, added = self.history.rows(rows), addition or Addition()
        params = with_rounds(params, judged.rounds) if judged else params
        flags = RULES[self.model.task].output == "anomaly_score"
        share = f" {added.contamination}" if flags else ""
        key = self._key(f"fit{self._added(added, judged)}{share}", [data], params, seed)
        if key not in self._made:
            self._made[key] = self._once(key, lambda: self._fit(key, data, params, seed, added, judged))
        return self._made[key]

    def _added(self, addition: Addition, judged: Training | None) -> str:
        if addition.validation is None:
            return ""
        return f" {addition.validation} {addition.calibrate} {judged.key if judged else ''}"

    def scorer(self, training: Training) -> NativeScorer:
        """Return the scorer of a training."""
        return NativeScorer(training, self.history.task, len(self.history.classes))

    def cross_scores(
        self, train: Mask, early: Mask, params: Mapping[str, Any], seed: int, *, addition: Addition, judged: Training
    ) -> Floats:
        """Return scores of the `early` rows by estimators that have not seen their stretch of time.

        train: the labelled ones among them, on which they are fitted. judged: the fit whose rounds and calibration they
        take where there are validation rows. Raises StageError.
        """
        data, rows = self.history.rows(train), self.history.rows(early)
        key = self._key(f"cross{self._added(addition, judged)}", [data, rows], params, seed)
        if key not in self._crossed:
            self._crossed[key] = self._once(key, lambda: self._cross(data, rows, params, seed, addition, judged))
        return self._crossed[key]

    def _fit(
        self,
        key: str,
        data: Dataset,
        params: Mapping[str, Any],
        seed: int,
        addition: Addition,
        judged: Training | None,
    ) -> Training:
        begun = time.process_time()
        with threadpool_limits(limits=1):  # so that the result does not depend on the machine
            if judged is None:
                estimator = fit_validated(self.model, data, params, seed, addition).estimator
            else:
                own = replace(data, rounds=judged.rounds if addition.validation is not None else None)
                estimator = judged.adapted(fit(self.model, own, dict(params), seed))
        used, cut = time.process_time() - begun, 0.0
        if RULES[self.model.task].output == "anomaly_score":
            cut = flagging(native_scores(estimator, data.X, self.model.task), addition.contamination)
        return Training(key, estimator, used, cut)

    def _cross(
        self,
        data: Dataset,
        rows: Dataset,
        params: Mapping[str, Any],
        seed: int,
        addition: Addition,
        judged: Training,
    ) -> Floats:
        rounds = judged.rounds if addition.validation is not None else None
        own = replace(data, rounds=rounds)
        with threadpool_limits(limits=1):
            return cross_fit(self.model, own, with_rounds(params, rounds), seed, rows=rows, adapt=judged.adapted)

    def _key(self, what: str, parts: list[Dataset], params: Mapping[str, Any], seed: int) -> str:
        about = [what, self.model.task, dict(params), seed, self._code, np.__version__, version("scikit-learn")]
        found = hashlib.blake2b(json.dumps(about, sort_keys=True, default=str).encode(), digest_size=16)
        for data in parts:
            found.update(repr(data.feature_names).encode())
            for values in (data.X, data.y, data.timestamps):
                found.update(np.ascontiguousarray(values).tobytes())
        return found.hexdigest()

    def _once(self, key: str, make: Callable[[], T]) -> T:
        """Return what a file holds, or make it; two processes do not make the same."""
        if self._folder is None:
            return make()
        path = self._folder / key[:2] / f"{key}.pickle"
        if (known := _read(path)) is not None:
            return known  # type: ignore[no-any-return]  # own file, by a key of its content
        with _locked(path):
            if (known := _read(path)) is not None:
                return known  # type: ignore[no-any-return]
            made = make()
            part = path.with_suffix(".part")
            part.write_bytes(pickle.dumps(made, protocol=pickle.HIGHEST_PROTOCOL))
            part.replace(path)
            return made


class RowScores:
    """Scores of all rows of a history by one estimator, computed in chunks on demand."""

    def __init__(self, history: History, training: Training) -> None:
        self._history = history
        self._scorer = NativeScorer(training, history.task, len(history.classes))
        self._scores = np.full(history.score_shape, np.nan)
        self._done = np.zeros(-(-len(history) // CHUNK_ROWS), np.bool_)

    def of(self, first: int, last: int) -> Floats:
        """Return the scores of the rows [first, last), float64."""
        for chunk in range(first // CHUNK_ROWS, -(-last // CHUNK_ROWS)):
            if not self._done[chunk]:
                part = slice(chunk * CHUNK_ROWS, (chunk + 1) * CHUNK_ROWS)
                with threadpool_limits(limits=1):
                    self._scores[part] = self._scorer.score(self._history.X[part])
                self._done[chunk] = True
        return self._scores[first:last]


def _read(path: Path) -> Any:
    """Return the content of a file that this module wrote, or None. A damaged file is made again."""
    try:
        return pickle.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except Exception:  # a file that was cut off, or of another version of a library
        return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
