"""The history that policies are compared on: feature vectors, labels, event times, and when each label became known.

It comes from a model's labelled examples, or from the prediction log with its labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.app.project.workspace import Workspace
from trimtab.clock import from_micros, to_micros
from trimtab.definitions.models import Dataset, Model
from trimtab.errors import DataError, StageError, nearest
from trimtab.features.table_columns import micros
from trimtab.features.training_frames import training_frame
from trimtab.metric_catalog import Task
from trimtab.stores.predictions import label_rule
from trimtab.stores.predictions.contract import START
from trimtab.tasks import RULES
from trimtab.training.columns.class_labels import classes_of, indices
from trimtab.training.dataset import LABEL, TIMESTAMP, examples

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max
"""`known_at` of a row whose label never became known."""
BLOCK_ROWS = 50_000


@dataclass(frozen=True, kw_only=True)
class History:
    """Rows in order of event time.

    Args:
        task: the task of the model.
        names: names of the features.
        X: float32 (rows, features), missing values NaN.
        y: labels, float64 (rows,), NaN where there is none.
        at: event times, int64 microseconds since 1970 (rows,).
        known_at: when the label became known, int64 (rows,); NEVER where it did not.
        groups: one value a row of columns that gates need, by name.
        truth: the labels that losses are counted by, where they are not those that a loop saw; None: `y`.
        classes: names of the classes, of which `y` holds the indices; empty where labels are numbers.
    """

    task: Task
    names: tuple[str, ...]
    X: npt.NDArray[np.float32]
    y: Floats
    at: Ints
    known_at: Ints
    groups: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    truth: Floats | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.at)

    @cached_property
    def digest(self) -> str:
        """A hash of the whole content."""
        about = f"{self.task} {self.names}" + (f" {self.classes}" if self.classes else "")
        found = hashlib.blake2b(about.encode(), digest_size=16)
        for values in (self.X, self.y, self.at, self.known_at, self.outcomes):
            found.update(np.ascontiguousarray(values).tobytes())
        for name in sorted(self.groups):
            found.update(f"{name} {self.groups[name].tolist()}".encode())
        return found.hexdigest()

    @property
    def labelled(self) -> Mask:
        """The rows with a label."""
        found: Mask = np.isfinite(self.y) & (self.known_at != NEVER)
        return found

    @property
    def outcomes(self) -> Floats:
        """The labels that losses are counted by."""
        return self.y if self.truth is None else self.truth

    def known(self, as_of: int, *, start: int | None = None, held: Sequence[tuple[int, int]] = ()) -> Mask:
        """Return the rows from `start` on whose labels are known by a time, without the stretches [from, to) held."""
        mask: Mask = self.labelled & (self.known_at <= as_of) & (self.at < as_of)
        if start is not None:
            mask &= self.at >= start
        for begin, end in held:
            mask &= (self.at < begin) | (self.at >= end)
        return mask

    def rows(self, mask: Mask) -> Dataset:
        """Return some rows in the form that a trainer gets."""
        times = self.at[mask].astype("datetime64[us]")
        return Dataset(
            X=self.X[mask],
            y=self.y[mask],
            feature_names=self.names,
            timestamps=times,
            classes=self.classes,
            known_at=self.known_at[mask].astype("datetime64[us]"),
        )

    @property
    def score_shape(self) -> tuple[int, ...]:
        """Shape of the scores of all rows."""
        return (len(self), len(self.classes)) if RULES[self.task].by_class else (len(self),)

    def delayed(self, delay: int) -> History:
        """Return the same rows, whose labels become known so many microseconds after the row's event time."""
        return replace(self, known_at=np.where(np.isfinite(self.y), self.at + delay, NEVER))

    def between(self, start: int | None, end: int | None) -> History:
        """Return the rows from `start` on, and before `end`."""
        first = 0 if start is None else int(np.searchsorted(self.at, start))
        last = len(self) if end is None else int(np.searchsorted(self.at, end))
        part = slice(first, last)
        return self._taken(np.arange(len(self))[part])

    def ordered(self) -> History:
        """Return the rows in order of event time."""
        return self._taken(np.argsort(self.at, kind="stable"))

    def _taken(self, places: npt.NDArray[np.intp]) -> History:
        return replace(
            self,
            X=self.X[places],
            y=self.y[places],
            at=self.at[places],
            known_at=self.known_at[places],
            groups={name: values[places] for name, values in self.groups.items()},
            truth=None if self.truth is None else self.truth[places],
        )

    def save(self, path: Path) -> None:
        """Write the history to a file that `read` reads."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        arrays: dict[str, Any] = {"X": self.X, "y": self.y, "at": self.at, "known_at": self.known_at}
        arrays |= {"task": np.array(self.task), "names": np.array(self.names, dtype=str)}
        arrays |= {"classes": np.array(self.classes, dtype=str)}
        arrays |= {f"group_{name}": values.astype(str) for name, values in self.groups.items()}
        np.savez(part, **arrays)
        part.replace(path)

    @classmethod
    def read(cls, path: Path) -> History:
        """Read what `save` wrote."""
        with np.load(path) as file:
            found = {name: file[name] for name in file.files}
        prefix = "group_"
        return cls(
            task=str(found["task"]),  # type: ignore[arg-type]  # one of the tasks
            names=tuple(map(str, found["names"])),
            X=found["X"],
            y=found["y"],
            at=found["at"],
            known_at=found["known_at"],
            classes=tuple(map(str, found.get("classes", ()))),
            groups={name.removeprefix(prefix): found[name] for name in found if name.startswith(prefix)},
        )


def of_examples(workspace: Workspace, model: Model, *, keep: Sequence[str], end: datetime | None = None) -> History:
    """Return the labelled examples of a model, with features as they could be known at their timestamps.

    keep: columns that gates need. end: only rows before it. Where a source has corrections, the row that counts in the
    end is taken. Raises StageError when there is no labelled row.
    """
    source = model.examples
    until = end or workspace.now()
    scan = workspace.scan(as_of=until)
    wanted = tuple(dict.fromkeys((*keep, source.known_column)))
    frame = training_frame(model, scan, as_of=until, keep=tuple(name for name in wanted if name != source.timestamp))
    if frame.is_empty() or frame[LABEL].null_count() == len(frame):
        raise StageError(
            f"model '{model.name}' has no labelled examples before {until:%Y-%m-%d %H:%M}: a backtest needs labels in "
            f"column '{model.label}' of table '{source.name}'"
        )
    frame = frame.with_columns(pl.col(TIMESTAMP).alias(source.timestamp)) if source.known_at is None else frame
    classes = classes_of(frame[LABEL], model)
    if classes:
        frame = frame.with_columns(indices(frame[LABEL], classes))
    _refuse_types(model, [name for name in model.feature_names if frame.schema[name] != pl.Float32])
    data = examples(frame, model.feature_names)
    known = micros(frame[source.known_column], where=f"Model '{model.name}', source '{source.name}'")
    return History(
        task=model.task,
        names=tuple(model.feature_names),
        X=data.X,
        y=data.y,
        at=data.timestamps.astype(np.int64),
        known_at=np.where(np.isfinite(data.y), known, NEVER),
        groups={name: _plain(frame[name]) for name in keep if name in frame.columns},
        classes=classes,
    ).ordered()


def _refuse_types(model: Model, typed: Sequence[str]) -> None:
    if typed:
        raise StageError(
            f"model '{model.name}' has features that are no plain numbers ({', '.join(typed[:5])}); a backtest takes "
            "numbers alone"
        )


def of_log(workspace: Workspace, model: Model) -> History:
    """Return what a model answered, with the features that it used and the labels that came later.

    Raises StageError for a log without such rows, or without labels.
    """
    names = tuple(model.feature_names)
    ids: list[str] = []
    parts: list[tuple[npt.NDArray[np.float32], Ints]] = []
    cursor = START
    while True:
        table, cursor = workspace.predictions.read(cursor, limit=BLOCK_ROWS)
        if not table.num_rows:
            break
        own = table.filter(pc.and_(pc.equal(table["model"], model.name), table["served"]))
        _refuse_types(model, names if own["typed"].null_count < len(own) else ())
        own = own.filter(pc.fill_null(pc.equal(pc.list_value_length(own["features"]), len(names)), False))
        if own.num_rows:
            flat = own["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            times = own["event_time"].cast(pa.int64()).to_numpy()
            parts.append((flat.reshape(-1, len(names)).astype(np.float32), times))
            ids += own["prediction_id"].to_pylist()
    if not parts:
        raise StageError(
            f"the prediction log has no answer of model '{model.name}' with its {len(names)} features: {names}"
        )
    y, known, classes = _labels(workspace, model, ids)
    if not np.isfinite(y).any():
        raise StageError(
            f"the prediction log has {len(ids):,} answers of model '{model.name}' and no label for any of them: import "
            "outcomes with `trimtab labels`, or leave --log out to take the labelled examples"
        )
    X, at = (np.concatenate([part[n] for part in parts]) for n in (0, 1))
    first = np.unique(np.array(ids), return_index=True)[1]  # an id that was sent again counts once
    return History(
        task=model.task,
        names=names,
        X=X[first],
        y=y[first],
        at=at[first],
        known_at=known[first],
        classes=classes,
    ).ordered()


def _labels(workspace: Workspace, model: Model, ids: Sequence[str]) -> tuple[Floats, Ints, tuple[str, ...]]:
    """Return the label of each id, when it became known, and the names of the classes that labels are indices of."""
    by_class = RULES[model.task].by_class
    values, known_at = np.full(len(ids), np.nan), np.full(len(ids), NEVER, np.int64)
    parts: list[tuple[Ints, Floats, Ints]] = []
    names: list[pl.Series] = []
    wanted = pa.array(ids, pa.string())
    cursor = START
    while True:
        table, cursor = workspace.predictions.read_labels(cursor, limit=BLOCK_ROWS)
        if not table.num_rows:
            break
        found = pc.index_in(table["prediction_id"], value_set=wanted)
        own = pc.and_(found.is_valid(), label_rule.belong(table["model"], model.name))
        place = found.filter(own).to_numpy().astype(np.int64)
        rows = table.filter(own)
        known = rows["known_at"].cast(pa.int64()).to_numpy()
        parts.append((place, rows["label"].to_numpy().astype(np.float64), known))
        names.append(pl.Series(rows["class_name"].to_pylist(), dtype=pl.String))
    classes: tuple[str, ...] = ()
    if parts:
        place, label, known = (np.concatenate([part[n] for part in parts]) for n in range(3))
        if by_class:
            named = pl.concat(names)
            classes = classes_of(named, model)
            label = indices(named, classes).to_numpy()
        order = label_rule.ordered(known)
        values[place[order]] = label[order]
        known_at[place[order]] = known[order]
    known_at[~np.isfinite(values)] = NEVER
    return values, known_at, classes or tuple(map(str, model.classes or ()))


def check(history: History, *, what: str) -> None:
    """Raise DataError for labels that do not fit the task."""
    y = history.y[history.labelled]
    if len(others := RULES[history.task].wrong_labels(y, len(history.classes))):
        expected = RULES[history.task].expected
        raise DataError(f"{what} is {history.task} but has labels {others[:5].tolist()}; expected {expected}")


def column_places(history: History, names: Sequence[str]) -> list[int]:
    """Return where columns stand in X. Raises DataError with the nearest name."""
    for name in names:
        if name not in history.names:
            raise DataError(f"no feature '{name}'.{nearest(name, history.names)}")
    return [history.names.index(name) for name in names]


def span(history: History) -> str:
    """Return the first and the last event time, for messages."""
    return f"{from_micros(int(history.at[0])):%Y-%m-%d} to {from_micros(int(history.at[-1])):%Y-%m-%d}"


def time_of(at: datetime | None) -> int | None:
    """Return a time in microseconds, or None."""
    return None if at is None else to_micros(at)


def _plain(column: pl.Series) -> npt.NDArray[Any]:
    return column.cast(pl.String).fill_null("").to_numpy() if not column.dtype.is_numeric() else column.to_numpy()
