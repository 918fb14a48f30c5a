"""The policies that are compared, and the source that opens a stream in any process."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from benchmarks.decisions.harms import HARMS
from benchmarks.decisions.streams import DAY, DELAY, EPOCH_DAY, STREAMS, Stream, history
from trimtab.app.backtest.labelled_history import History
from trimtab.app.backtest.running import Subject
from trimtab.app.backtest.triggers import Adwin, ErrorRise, Every, LossAlarm, Never
from trimtab.app.backtest.world import Plan
from trimtab.definitions.models import Dataset, Model
from trimtab.definitions.sources import FileSource
from trimtab.policy.decide import Refresh
from trimtab.policy.model import Policy

PARAMS = {"max_iter": 25, "learning_rate": 0.2, "max_leaf_nodes": 15}
MEDIUM, HIGH = 0.08, 0.23
"""Impact levels of the matrix, as shares of what a constant answer costs a window on the first part: those of the
flights template, which has 500 and 1,500 a day where about 6,500 are lost."""
CALENDARS = {f"every {days}": days for days in (7, 14, 28)}
NEVER, DEFAULT = "never", "default"
HARM_AT = 0.4
"""Harms begin at this share of the windows that count."""


@dataclass(frozen=True)
class StreamSource:
    """A stream, with a harm or without. data: folder of the packages with the data."""

    name: str
    data: Path
    harm: str | None = None

    def open(self) -> Subject:
        """Return the model and the history of the stream."""
        stream = STREAMS[self.name]
        if str(self.data) not in sys.path:
            sys.path.append(str(self.data))  # for river
        found = self.history()
        rows = FileSource("rows", "rows.parquet", timestamp="at", known_at="known_at")
        name = "".join(letter if letter.isalnum() else "_" for letter in self.name).replace("__", "_")
        model = Model(name, task=stream.task, examples=rows, label="y", features=list(found.names))
        model.trainer(fit_classifier if stream.task == "binary" else fit_regressor)
        code = inspect.getsource(fit_classifier) + inspect.getsource(fit_regressor)
        return Subject(model=model, history=found, code=code)

    def history(self) -> History:
        """Return the rows."""
        stream = STREAMS[self.name]
        harm = HARMS[self.harm] if self.harm else None
        clean = history(stream, self.data, delay=harm.delay if harm and harm.delay else DELAY)
        if harm is None:
            return clean
        first, last = start_of(stream, clean) // DAY, int(clean.at[-1]) // DAY
        return harm.apply(clean, first + round(HARM_AT * (last - first)))


def fit_classifier(data: Dataset, params: dict[str, Any], seed: int) -> Any:
    """Boosted trees."""
    model = HistGradientBoostingClassifier(random_state=seed, early_stopping=False, **params)
    return model.fit(usable(data), data.y)


def fit_regressor(data: Dataset, params: dict[str, Any], seed: int) -> Any:
    """Boosted trees."""
    model = HistGradientBoostingRegressor(random_state=seed, early_stopping=False, **params)
    return model.fit(usable(data), data.y)


def usable(data: Dataset) -> np.ndarray[Any, Any]:
    """Return the rows, zeros in columns without any value, which the trees cannot be fitted on."""
    empty = np.isnan(data.X).all(axis=0)
    return np.where(empty, np.float32(0), data.X) if empty.any() else data.X


def start_of(stream: Stream, rows: History) -> int:
    """Return the event time from which windows count."""
    last = int(rows.at[-1]) // DAY
    return (EPOCH_DAY + round(stream.first * (last - EPOCH_DAY))) * DAY


def policy(stream: Stream, rows: History, *, delay: int) -> Policy:
    """Return the policy of a stream, without routine refresh."""
    first = rows.at < start_of(stream, rows)
    usual = _constant_costs(stream, rows.y[first]) / len(np.unique(rows.at[first] // DAY))
    return Policy.model_validate(
        {
            "project": "decisions",
            "training": {"params": {**PARAMS, "min_samples_leaf": stream.min_samples_leaf}, "min_examples": 200},
            "gates": {"accuracy": None, "leakage": None, "performance": None},
            "impact": {"cost": stream.costs, "medium": MEDIUM * usual, "high": HIGH * usual},
            "decide": {"labels_mature_after": delay * DAY, "cooldown": 28 * DAY},
        }
    )


def _constant_costs(stream: Stream, y: np.ndarray[Any, Any]) -> float:
    """Return what the cheapest constant answer costs on some labels."""
    if stream.task == "binary":
        costs = (y.sum() * stream.costs["false_negative"], (1 - y).sum() * stream.costs["false_positive"])
        return float(min(costs))
    return float(np.abs(y - np.median(y)).sum() * stream.costs["absolute_error"])


def all_plans(base: Policy) -> list[Plan]:
    """Return every policy, `never` first."""
    halved = base.model_copy(update={"training": base.training.model_copy(update={"refit": "never"})})
    return [
        Plan(name=NEVER, policy=base, trigger=Never()),
        *(Plan(name=name, policy=base, trigger=Every(days * DAY)) for name, days in CALENDARS.items()),
        Plan(name="every 28, first 80 %", policy=halved, trigger=Every(28 * DAY)),
        Plan(name="loss alarm", policy=base, trigger=LossAlarm()),
        Plan(name="error + 5 %", policy=base, trigger=ErrorRise(0.05)),
        Plan(name="ADWIN", policy=base, trigger=Adwin()),
        Plan(name="matrix, approved", policy=base, approve=True),
        Plan(name="matrix, alone", policy=base),
        default_plan(base),
    ]


def few_plans(base: Policy) -> list[Plan]:
    """Return `never`, the calendars and the default."""
    wanted = (NEVER, DEFAULT, *CALENDARS)
    return [plan for plan in all_plans(base) if plan.name in wanted]


def default_plan(base: Policy) -> Plan:
    """Return the policy of the templates: the matrix, and a routine refresh every seven windows."""
    retrain = base.retrain.model_copy(update={"refresh": Refresh(every=7 * DAY)})
    return Plan(name=DEFAULT, policy=base.model_copy(update={"retrain": retrain}))
