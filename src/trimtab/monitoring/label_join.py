"""Joins labels to predictions, whenever they come.

A label may arrive before its window is closed, after, twice, or for a prediction that is not in the log; which of
several counts is the rule of stores.predictions.label_rule. A window is judged on the labels that were known by a time
of the events' clock, so the result does not depend on when the monitor reads the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.monitoring.event_windows import BEGINNING
from trimtab.monitoring.prediction_rows import numbers
from trimtab.stores.predictions import label_rule
from trimtab.tasks import UNKNOWN_CLASS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NEVER = np.iinfo(np.int64).max
"""`known_at` of a row without a label."""


@dataclass(frozen=True)
class Labels:
    """Some rows of the label log. models: null where the label names none."""

    ids: pa.StringArray
    models: pa.StringArray
    label: Floats
    """NaN where the label is a class."""
    known_at: Ints
    places: Ints
    """How many labels of the log came before each."""
    classes: pa.StringArray
    """Name of the class; null where the label is a number."""

    def take(self, mask: npt.NDArray[np.bool_]) -> Labels:
        """Return the labels where mask is true."""
        chosen = pa.array(mask)
        ids, models, classes = (texts.filter(chosen) for texts in (self.ids, self.models, self.classes))
        return Labels(ids, models, self.label[mask], self.known_at[mask], self.places[mask], classes)

    def __len__(self) -> int:
        return len(self.known_at)


def from_table(table: pa.Table, *, first: int = 0) -> Labels:
    """Return the rows of a table of the label log; a label that is not a finite number is NaN.

    first: how many labels of the log came before them.
    """
    known = table["known_at"].cast(pa.int64()).to_numpy()
    places = np.arange(first, first + table.num_rows, dtype=np.int64)
    ids, models, classes = (_texts(table, name) for name in ("prediction_id", "model", "class_name"))
    return Labels(ids, models, numbers(table["label"].to_numpy()), known, places, classes)


def _texts(table: pa.Table, name: str) -> pa.StringArray:
    return pa.concat_arrays([pa.array([], pa.string()), *table[name].chunks])


class LabelPool:
    """Labels whose window is not closed yet, or whose prediction is unknown."""

    def __init__(self) -> None:
        self._parts: list[Labels] = []
        self.unmatched = 0
        """Labels dropped: of unknown predictions, or of windows that had been judged."""
        self._until = 0
        self._waited: Ints = np.empty(0, np.int64)

    @property
    def parts(self) -> Sequence[Labels]:
        """All labels that wait."""
        return self._parts

    def go_on(self, *, unmatched: int, until: int, waited: Ints, labels: Labels) -> None:
        """Take over from an earlier process, so that no label is counted twice.

        until: how many labels of the log it had read; it dropped `unmatched` of them. waited: places of those that
        waited here; the others were counted, or belonged to windows. labels: those that are not read again.
        """
        self.unmatched, self._until, self._waited = unmatched, until, waited
        self.add(labels)

    def discard(self, model: str, ids: pa.StringArray) -> None:
        """Leave out the labels of predictions whose windows are judged: they were used there."""
        self.give_to(WindowLabels(model, ids))

    def add(self, labels: Labels) -> None:
        """Take in labels."""
        if len(labels):
            self._parts.append(labels)

    def give_to(self, window: WindowLabels) -> None:
        """Move the labels of a closed window's predictions to it."""
        kept = []
        for labels in self._parts:
            mine = window.accept(labels)
            rest = labels.take(~mine) if mine.any() else labels
            if len(rest):
                kept.append(rest)
        self._parts = kept

    def drop_before(self, needed_from: Mapping[str, int], *, all_read: bool = True) -> None:
        """Drop labels that were known before the time from which their model needs labels: their windows are judged.
        A label that names no model, or an unknown one, is dropped when no model needs it.

        all_read: no row of the prediction log is left to read. Until then a further model may appear.
        """
        models = pa.array(list(needed_from), pa.string())
        earliest = min(needed_from.values()) if all_read else BEGINNING
        from_on = np.array([*needed_from.values(), earliest], np.int64)
        kept = []
        for labels in self._parts:
            place = pc.fill_null(pc.index_in(labels.models, value_set=models), len(models)).to_numpy()
            young = labels.known_at >= from_on[place]
            if not young.all():
                self.unmatched += self._new(labels.places[~young])
                labels = labels.take(young)
            if len(labels):
                kept.append(labels)
        self._parts = kept

    def _new(self, places: Ints) -> int:
        """Return how many labels an earlier process has not counted."""
        return int(((places >= self._until) | np.isin(places, self._waited)).sum())

    def __len__(self) -> int:
        return sum(len(labels) for labels in self._parts)


@dataclass(frozen=True)
class KnownLabels:
    """The labels of some predictions: numbers, NaN where there is none; or names of classes, null where there is none.

    names: None when no label is a class.
    """

    values: Floats
    names: pa.StringArray | None

    def of(self, places: Ints, classes: Sequence[str]) -> tuple[Floats, dict[str, int]]:
        """Return the labels at some places, as a model with these classes has them: indices of its classes.

        A class that it does not have is UNKNOWN_CLASS. The second result counts those rows by class.
        """
        if not classes:
            return self.values[places], {}
        if self.names is None:
            return np.full(len(places), np.nan), {}
        names = self.names.take(pa.array(places))
        index = pc.index_in(names, value_set=pa.array(classes, pa.string()))
        labelled = names.is_valid().to_numpy(zero_copy_only=False)
        unknown = names.filter(pc.and_(names.is_valid(), pc.is_null(index)))
        found = pc.fill_null(index, int(UNKNOWN_CLASS)).to_numpy(zero_copy_only=False).astype(np.float64)
        counts = {each["values"]: each["counts"] for each in pc.value_counts(unknown).to_pylist()}
        return np.where(labelled, found, np.nan), counts


@dataclass
class WindowLabels:
    """The labels of one closed window's predictions, all of one model.

    ids: the window's different predictions. Arrays that labels are given in stay in the order of the label log.
    """

    model: str
    ids: pa.StringArray
    _places: list[Ints] = field(default_factory=list)
    _labels: list[Labels] = field(default_factory=list)
    _first_known: Ints = field(init=False)

    def __post_init__(self) -> None:
        self._first_known = np.full(len(self.ids), NEVER, np.int64)

    def accept(self, labels: Labels) -> npt.NDArray[np.bool_]:
        """Take the labels that belong to this window; return which."""
        found = pc.index_in(labels.ids, value_set=self.ids)
        fits = label_rule.belong(labels.models, self.model)
        mine: npt.NDArray[np.bool_] = pc.and_(found.is_valid(), fits).to_numpy(zero_copy_only=False)
        if mine.any():
            places = found.filter(pa.array(mine)).to_numpy().astype(np.int64)
            own = labels if mine.all() else labels.take(mine)
            self._places.append(places)
            self._labels.append(own)
            np.minimum.at(self._first_known, places, own.known_at)
        return mine

    @property
    def parts(self) -> Sequence[Labels]:
        """All labels that were accepted."""
        return self._labels

    @property
    def complete_at(self) -> int:
        """The time when every prediction had a label; NEVER while one has none."""
        return int(self._first_known.max()) if len(self._first_known) else NEVER

    def known_by(self, time: int) -> tuple[KnownLabels, int]:
        """Return the label of each of `ids` as of a time, and how many labels do not count.

        Those are labels that another one replaced, and labels that are neither finite numbers nor classes.
        """
        values, last = np.full(len(self.ids), np.nan), np.full(len(self.ids), -1)
        if not self._places:
            return KnownLabels(values, None), 0
        places = np.concatenate(self._places)
        label = np.concatenate([part.label for part in self._labels])
        known = np.concatenate([part.known_at for part in self._labels])
        counted = np.flatnonzero(known <= time)
        order = counted[label_rule.ordered(known[counted])]
        last[places[order]] = order  # the last one of a place stays
        found = last >= 0
        values[found] = label[last[found]]
        classes = pa.concat_arrays([part.classes for part in self._labels])
        if classes.null_count == len(classes):
            return KnownLabels(values, None), len(counted) - int(np.isfinite(values).sum())
        names = classes.take(pa.array(last, mask=~found))
        labelled = int(np.isfinite(values).sum()) + len(names) - names.null_count
        return KnownLabels(values, names), len(counted) - labelled
