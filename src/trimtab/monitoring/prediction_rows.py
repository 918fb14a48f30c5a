"""Rows of the prediction log as arrays, one version of one window at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.bundle.prompt_spec import NOT_THE_VERSION
from trimtab.records.record import Role
from trimtab.stores.predictions import label_rule

Floats = npt.NDArray[np.float64]

LARGEST = float(np.finfo(np.float32).max)
"""A larger score or label counts as missing: the mean of its square would be infinite."""

KEPT = (
    "prediction_id",
    "version",
    "role",
    "served",
    "event_time",
    "logged_at",
    "features",
    "score",
    "confidence",
    "latency_us",
    "cpu_us",
    "error",
    "probabilities",
)
"""Fields of the log that windows are made of; the others are dropped as soon as they are read."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What is kept of a closed window until its labels matured: one entry a row."""

    version: int
    role: Role
    ids: pa.StringArray
    score: Floats
    """NaN where the model gave no number; of a multiclass model the probability of the predicted class."""
    rows: int
    served: int
    requests: int
    """Different predictions of the window over all versions; this version may have scored fewer."""
    answered: npt.NDArray[np.bool_] | None = None
    """Which rows were served; None where it is not known."""
    answers: pa.StringArray | None = None
    """Of a prompt: by which ids labels name the rows (`label_rule.answer_id`); None: by `ids`."""
    probabilities: Floats | None = None
    """Of each class, (rows, classes), of a multiclass model; NaN where it gave none."""
    categories: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """Values of category features, which mistakes are told apart by; NaN in a row without features."""
    inputs: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """Values of the features that the project's impact function takes; NaN in a row without features."""

    @property
    def label_ids(self) -> pa.StringArray:
        """The ids by which labels name the rows."""
        return self.ids if self.answers is None else self.answers

    def by_answer(self) -> Scored:
        """Return the same, whose rows that were not served are named by their version, too."""
        if self.answered is None or self.answered.all():
            return self
        own = pa.array([label_rule.answer_id(turn, self.version) for turn in self.ids.to_pylist()], pa.string())
        return replace(self, answers=pc.if_else(pa.array(self.answered), self.ids, own))

    @property
    def scores(self) -> Floats:
        """What the model gave: (rows,), or (rows, classes) of a multiclass model."""
        return self.score if self.probabilities is None else self.probabilities


@dataclass(frozen=True, kw_only=True)
class VersionRows:
    """All rows of one version in one window."""

    scored: Scored
    confidence: Floats
    latency_ms: Floats
    """Of the rows that were served, or of all when none was."""
    request_latency_ms: Floats
    """The same, of each request once: the rows of one are logged together and share their latency."""
    cpu_us: int
    errors: int
    failed_requests: int
    """Requests that the failed rows came in."""
    lists: pa.ListArray
    """Features of each row; null where there are none."""
    hashed: int = 0
    """Turns of a prompt with a text that is kept as a hash."""

    def matrix(self, columns: int) -> npt.NDArray[np.float32]:
        """Return features and score side by side, float32 (rows, columns + 1), of the rows that have features.

        Those of a multiclass model have the probabilities of its classes behind the score. Rows with another number of
        features are left out: they fit no reference.
        """
        outputs = [self.scored.score, *([] if self.scored.probabilities is None else self.scored.probabilities.T)]
        if not columns:
            return np.column_stack(outputs).astype(np.float32)
        fitting = pc.fill_null(pc.equal(pc.list_value_length(self.lists), columns), False)
        flat = self.lists.filter(fitting).flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        chosen = fitting.to_numpy(zero_copy_only=False)
        return np.column_stack([flat.reshape(-1, columns), *(each[chosen].astype(np.float32) for each in outputs)])


def columns_of(rows: VersionRows, names: Sequence[str], chosen: Collection[str]) -> dict[str, npt.NDArray[np.float32]]:
    """Return the values of some features, float32 (rows,) each; NaN in a row with another number of features."""
    fitting = pc.fill_null(pc.equal(pc.list_value_length(rows.lists), len(names)), False)
    fits = fitting.to_numpy(zero_copy_only=False)
    matrix = rows.matrix(len(names)) if len(names) else np.zeros((0, 0), np.float32)
    found = {}
    for place, name in enumerate(names):
        if name in chosen:
            found[name] = np.full(rows.scored.rows, np.nan, np.float32)
            found[name][fits] = matrix[:, place]
    return found


def judged(table: pa.Table) -> pa.Table:
    """Return the rows that versions are judged by.

    Left out are rows that a client pinned to a version, and rows of a fallback (the champion before, a fixed score).
    """
    return table.filter(pc.and_(pc.not_equal(table["route"], "pinned"), pc.not_equal(table["role"], "fallback")))


def numbers(values: Floats) -> Floats:
    """Return the values, NaN where they are larger than LARGEST."""
    found: Floats = np.where(np.abs(values) <= LARGEST, values, np.nan)
    return found


def versions_of(table: pa.Table) -> dict[int, int]:
    """Return the rows of each version, lowest version first."""
    numbers, rows = np.unique(_array(table, "version"), return_counts=True)
    return dict(zip(numbers.tolist(), rows.tolist(), strict=True))


def version_rows(
    table: pa.Table, version: int, *, requests: int, limit: int | None = None, classes: int = 0
) -> VersionRows:
    """Return the rows of one version; at most the first `limit` in the order of the log.

    classes: how many a multiclass model tells apart, else 0.

    They are sorted by event time and id: rows that came together stand in the log as the workers were scheduled, and
    sums of floats differ by their order in the last bits.
    """
    own = table.filter(pc.equal(table["version"], version))
    own = own if limit is None else own.slice(0, limit)
    role = _role(own)
    own = own.sort_by([("event_time", "ascending"), ("prediction_id", "ascending")])
    served = _array(own, "served")
    timed = own.filter(pa.array(served)) if served.any() else own
    failed = own.filter(
        pc.and_(
            pc.is_valid(own["error"]),
            pc.invert(pc.is_in(own["error"].cast(pa.string()), value_set=pa.array(NOT_THE_VERSION, pa.string()))),
        )
    )
    scored = Scored(
        version=version,
        role=role,
        ids=_column(own, "prediction_id"),
        score=numbers(_floats(own, "score")),
        rows=own.num_rows,
        served=int(served.sum()),
        answered=served.astype(bool, copy=False),
        requests=requests,
        probabilities=probabilities_of(_column(own, "probabilities"), classes) if classes else None,
    )
    return VersionRows(
        scored=scored,
        confidence=_floats(own, "confidence"),
        latency_ms=_array(timed, "latency_us") / 1000.0,
        request_latency_ms=_array(_requests(timed), "latency_us") / 1000.0,
        cpu_us=int(_array(own, "cpu_us").sum(dtype=np.int64)),
        errors=failed.num_rows,
        failed_requests=_requests(failed).num_rows,
        lists=_column(own, "features"),
    )


def probabilities_of(lists: pa.ListArray, classes: int) -> Floats:
    """Return the probabilities of classes, float64 (rows, classes); NaN in a row with another number of them."""
    found = np.full((len(lists), classes), np.nan)
    fitting = pc.fill_null(pc.equal(pc.list_value_length(lists), classes), False)
    flat = lists.filter(fitting).flatten().to_numpy(zero_copy_only=False)
    found[fitting.to_numpy(zero_copy_only=False)] = flat.reshape(-1, classes)
    return found


def requests_of(table: pa.Table) -> int:
    """Return the number of different predictions."""
    return int(pc.count_distinct(table["prediction_id"]).as_py())


def _requests(table: pa.Table) -> pa.Table:
    return table.select(["logged_at", "latency_us"]).group_by(["logged_at", "latency_us"]).aggregate([])


def _role(table: pa.Table) -> Role:
    """Return the role that most of the rows had, the later one when they are even."""
    counts = pc.value_counts(_column(table, "role")).to_pylist()
    most = Counter({entry["values"]: entry["counts"] for entry in counts})
    roles = [role for role, rows in most.items() if rows == max(most.values())]
    return cast(Role, roles[-1])


def _column(table: pa.Table, name: str) -> Any:
    column = table[name]
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _array(table: pa.Table, name: str) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = np.asarray(_column(table, name).to_numpy(zero_copy_only=False))
    return found


def _floats(table: pa.Table, name: str) -> Floats:
    return _array(table, name).astype(np.float64, copy=False)
