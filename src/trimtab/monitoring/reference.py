"""The windows of the training span, which later windows are compared with.

Training writes it into the bundle as reference/windows.json; the monitor reads it from there. It holds, for each
window of the training span, profiles of all features and of the score, and how well out-of-sample scores
matched the labels. Money is not in it but the mistakes are, so that a changed price changes both sides of a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from trimtab.bundle.spec import Limits
from trimtab.bundle.typed_matrix import TypedMatrix
from trimtab.definitions.impact_function import ImpactFunction
from trimtab.errors import DataError, nearest
from trimtab.llm.topics import TurnTopics
from trimtab.metric_catalog import BY_TASK, PAIR, Task
from trimtab.monitoring import mistakes as impact
from trimtab.monitoring.detection.segments import segment_excess
from trimtab.monitoring.event_windows import Windowing, split
from trimtab.monitoring.expectation import Expectation
from trimtab.monitoring.row_money import Names, RowMoney
from trimtab.records.monitoring import SCORE, class_column, is_output
from trimtab.records.training import UsualRange
from trimtab.stats.correlations import ENTRY, Correlations
from trimtab.stats.metrics import metric_value
from trimtab.stats.profile import ColumnProfile, profile_matrix
from trimtab.stats.schemes import Bins, CategoryBins, NumericBins, bins_from_dict
from trimtab.tasks import RULES

Floats = npt.NDArray[np.float64]

MadeOf = Literal["training", "examples", "own"]
WINDOWS_FILE = "reference/windows.json"
MIN_USUAL_WINDOWS = 10
"""With fewer windows nothing is usual for a metric."""
USUAL = (0.05, 0.5, 0.95)
"""Quantiles of the windows that are a metric's usual range."""
SMALLEST_SHARE = 0.5
"""A window with a smaller share of the median window's rows is merged into the next one."""


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """Scores and labels of one reference window compared; None in a window without labels."""

    rows: int
    excess: float
    """Mean loss beyond what the model expected of itself."""
    mistakes: dict[str, float]
    """Mean a prediction, by kind."""
    log_loss: float | None
    squared_error: float | None = None
    """Mean, of a regression, or the share of wrong decisions on anomalies; references of earlier releases do not have
    it."""
    expected: dict[str, float] = {}
    """Mistakes a prediction that the model expected of itself; references of earlier releases do not have it."""
    metrics: dict[str, float] = {}
    """The summary of the task, as of a matured window; references of earlier releases do not have it."""


class _Column(msgspec.Struct, frozen=True, kw_only=True):
    """Profiles of one column, one entry a window."""

    scheme: dict[str, Any]
    counts: list[list[int]]
    total: list[float]
    squares: list[float]
    minimum: list[float | None]
    maximum: list[float | None]


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """reference/windows.json."""

    format: Literal[1] = 1
    task: Task
    threshold: float
    window: int
    costs: dict[str, float]
    starts: list[int]
    rows: list[int]
    labelled: list[Labelled | None]
    confidence: list[float | None]
    expectation: Expectation
    columns: dict[str, _Column]
    correlations: list[list[int]] = []
    """Sums of products of pairs of features, one entry a window. References of earlier releases have none."""
    segments: list[dict[str, tuple[float, int]]] = []
    """Excess and labelled rows by segment, one entry a window. References of earlier releases have none."""
    classes: tuple[str, ...] = ()
    made_of: MadeOf | msgspec.UnsetType = msgspec.UNSET
    """Left out of files of training spans."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The reference windows of one model version, oldest first."""

    task: Task
    threshold: float
    window: int
    """Length of a window in microseconds."""
    costs: impact.Costs
    """What mistakes cost when it was made, for the record; comparisons use today's policy."""
    names: tuple[str, ...]
    """Features, in the order of the model's input."""
    schemes: Mapping[str, Bins]
    """How each feature and the score are counted."""
    starts: tuple[int, ...]
    rows: tuple[int, ...]
    profiles: tuple[Mapping[str, ColumnProfile], ...]
    labelled: tuple[Labelled | None, ...]
    confidence: tuple[float | None, ...]
    """Mean confidence a window, of models whose scores are probabilities."""
    expectation: Expectation
    segments: tuple[Mapping[str, tuple[float, int]], ...] = ()
    """Excess and labelled rows of each window by segment (segments.py)."""
    classes: tuple[str, ...] = ()
    """Names of the classes of a multiclass model, in the order of its scores."""
    made_of: MadeOf = "training"
    """What its windows are. Traffic is not compared with examples, to which a prompt has answered in its evaluation;
    own: the first windows of the version itself."""
    limits: Limits | None = None
    """What features that a request brings as they are were expected to be; None looks at none. Not in the file."""
    category_names: Names = field(default_factory=dict)
    """Names of the categories of features whose values are codes. Not in the file."""
    topics: TurnTopics | None = None
    """Of a prompt: the topics of its texts. Not in the file."""

    @property
    def windows(self) -> int:
        """How many windows there are."""
        return len(self.starts)

    @property
    def end(self) -> int:
        """End of the last window, in microseconds; 0 without any."""
        return self.starts[-1] + self.window if self.starts else 0

    @cached_property
    def correlations(self) -> Correlations:
        """The pairs of features whose correlations are watched."""
        return Correlations({name: self.schemes[name] for name in self.names})

    def profile(self, matrix: npt.NDArray[np.float32]) -> dict[str, ColumnProfile]:
        """Return the profiles of a window: features and score side by side, in the order of the schemes."""
        return _profile_rows(matrix, self.schemes, self.correlations)

    @cached_property
    def median_rows(self) -> float:
        """Rows of the median window."""
        return float(np.median(self.rows))

    @property
    def min_rows(self) -> float:
        """A window with fewer rows is merged into the next one."""
        return SMALLEST_SHARE * self.median_rows

    @cached_property
    def excess(self) -> tuple[float, ...]:
        """Mean loss beyond the expected one, of each window that has labels."""
        return tuple(w.excess for w in self.labelled if w is not None)

    @cached_property
    def log_loss(self) -> float | None:
        """Mean log-loss over all labelled rows; None for a regression."""
        known = [(w.rows, w.log_loss) for w in self.labelled if w is not None and w.log_loss is not None]
        rows = sum(n for n, _ in known)
        return sum(n * loss for n, loss in known) / rows if rows else None

    def money(self, costs: impact.Costs) -> float | None:
        """Return the mean money lost a prediction; None without labels that count every kind of mistake with a price.

        References of earlier releases do not count the errors of a regression by direction.
        """
        known = [w for w in self.labelled if w is not None and all(impact.is_counted(k, w.mistakes) for k in costs)]
        rows = sum(w.rows for w in known)
        return sum(w.rows * impact.money(w.mistakes, costs) for w in known) / rows if rows else None

    def money_beyond(self, costs: impact.Costs) -> float | None:
        """Return the mean money lost a prediction beyond what the model expected of itself; None when not known."""
        known = [
            w
            for w in self.labelled
            if w is not None and all(impact.is_counted(k, of) for k in costs for of in (w.mistakes, w.expected))
        ]
        rows = sum(w.rows for w in known)
        if not rows:
            return None
        beyond = (w.rows * (impact.money(w.mistakes, costs) - impact.money(w.expected, costs)) for w in known)
        return sum(beyond) / rows

    def usual(self) -> dict[str, UsualRange]:
        """Return the usual range of each metric that enough windows have."""
        values: dict[str, list[float]] = {}
        for name, value in (item for w in self.labelled if w is not None for item in w.metrics.items()):
            values.setdefault(name, []).append(value)
        found = {name: np.quantile(each, USUAL) for name, each in values.items() if len(each) >= MIN_USUAL_WINDOWS}
        return {name: UsualRange(low=float(a), median=float(b), high=float(c)) for name, (a, b, c) in found.items()}

    def missing(self) -> tuple[float, ...]:
        """Return the share of missing feature values of each window."""
        return tuple(missing_share(profile, self.names) for profile in self.profiles)

    def to_json(self) -> bytes:
        """Return the content of reference/windows.json; equal references give equal bytes."""
        file = _File(
            task=self.task,
            threshold=self.threshold,
            window=self.window,
            costs=dict(self.costs),
            starts=list(self.starts),
            rows=list(self.rows),
            labelled=list(self.labelled),
            confidence=list(self.confidence),
            expectation=self.expectation,
            columns={name: _packed(bins, [w[name] for w in self.profiles]) for name, bins in self.schemes.items()},
            correlations=[list(w[ENTRY].counts) for w in self.profiles if ENTRY in w],
            segments=[dict(window) for window in self.segments],
            classes=self.classes,
            made_of=msgspec.UNSET if self.made_of == "training" else self.made_of,
        )
        return msgspec.json.encode(file)

    @classmethod
    def from_json(cls, content: bytes) -> Reference:
        """Read what `to_json` wrote. Raises DataError."""
        try:
            file = msgspec.json.decode(content, type=_File)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise DataError(f"reference/windows.json is not a reference: {error}") from None
        schemes = {name: bins_from_dict(column.scheme) for name, column in file.columns.items()}
        columns = {name: _unpacked(schemes[name], column, file.rows) for name, column in file.columns.items()}
        names = tuple(name for name in schemes if not is_output(name))
        profiles = [{name: columns[name][i] for name in columns} for i in range(len(file.starts))]
        if len(file.correlations) == len(profiles):
            scheme = Correlations({name: schemes[name] for name in names}).fingerprint
            for window, sums, rows in zip(profiles, file.correlations, file.rows, strict=True):
                window[ENTRY] = ColumnProfile("correlations", scheme, tuple(sums), rows)
        return cls(
            task=file.task,
            threshold=file.threshold,
            window=file.window,
            costs=file.costs,
            names=names,
            schemes=schemes,
            starts=tuple(file.starts),
            rows=tuple(file.rows),
            profiles=tuple(profiles),
            labelled=tuple(file.labelled),
            confidence=tuple(file.confidence),
            expectation=file.expectation,
            segments=tuple(file.segments),
            classes=file.classes,
            made_of="training" if file.made_of is msgspec.UNSET else file.made_of,
        )


def build_reference(
    X: npt.NDArray[Any],
    scores: npt.ArrayLike,
    y: npt.ArrayLike,
    timestamps: npt.ArrayLike,
    names: Sequence[str],
    *,
    window: int,
    task: Task,
    threshold: float,
    costs: impact.Costs,
    categories: Collection[str] = (),
    impact_function: ImpactFunction | None = None,
    classes: Sequence[str] = (),
    made_of: MadeOf = "training",
) -> Reference:
    """Return the reference of a training span.

    Args:
        X: features as the model sees them, float (rows, features); missing is NaN.
        scores: out-of-sample scores of the same rows (cross-fitted), float (rows,), or (rows, classes).
        y: labels, float (rows,); NaN where there is none.
        timestamps: event times, datetime64 or int microseconds since the epoch, (rows,).
        names: names of the features.
        window: length of a window in microseconds.
        costs: money a mistake, by kind.
        categories: features whose numbers are codes; they are counted code by code, and none is more than another.
        impact_function: the project's, in place of costs.
        classes: names of the classes of a multiclass model, in the order of its scores.
        made_of: what the rows are.

    Raises DataError when there are no rows, shapes do not fit, or costs are of classes that the model does not have;
    ImpactFailed.
    """
    features = np.ascontiguousarray(X, np.float32)
    score, label = np.asarray(scores, np.float64), np.asarray(y, np.float64)
    times = _micros(timestamps)
    if not len(features) or not (len(features) == len(score) == len(label) == len(times)):
        raise DataError(
            f"a reference needs rows, and as many of each: features {features.shape}, scores {score.shape}, "
            f"labels {label.shape}, timestamps {times.shape}"
        )
    if features.ndim != 2 or features.shape[1] != len(names) or any(map(is_output, names)):
        raise DataError(
            f"features of shape {features.shape} do not fit the names {list(names)} (none may be '{SCORE}')"
        )
    rules = RULES[task]
    if rules.by_class and score.shape != (len(features), len(classes)):
        raise DataError(f"scores have shape {score.shape}; expected one a row for each of {len(classes)} classes")
    impact.check_pairs(costs, classes)
    outputs = [rules.main_score(score), *(score.T if rules.by_class else ())]
    matrix = np.column_stack([features, *(each.astype(np.float32) for each in outputs)])
    columns = (*names, SCORE, *(map(class_column, classes) if rules.by_class else ()))
    if unknown := [name for name in categories if name not in names]:
        raise DataError(f"category '{unknown[0]}' is no feature.{nearest(unknown[0], names)}")
    known = np.isfinite(label) & np.isfinite(outputs[0])
    named = classes if rules.by_class else ()
    values = {name: features[:, place] for place, name in enumerate(names)}
    category_names = X.schema.categories if isinstance(X, TypedMatrix) else {}
    own = RowMoney.of(impact_function, values, names=category_names, classes=named)
    expectation = Expectation.fit(
        label[known], score[known], task=task, threshold=threshold, own=own and own.rows(known)
    )
    windows = _windows(times, window)
    schemes = _schemes(matrix, columns, windows, categories)
    correlations = Correlations({name: schemes[name] for name in names})
    return Reference(
        task=task,
        threshold=threshold,
        window=window,
        costs=dict(costs),
        names=tuple(names),
        schemes=schemes,
        starts=tuple(int(times[rows].min() // window * window) for rows in windows),
        rows=tuple(len(rows) for rows in windows),
        profiles=tuple(_profile_rows(matrix[rows], schemes, correlations) for rows in windows),
        labelled=tuple(
            _labelled(label[rows], score[rows], expectation, threshold, own and own.rows(rows), named, costs)
            for rows in (rows[known[rows]] for rows in windows)
        ),
        confidence=tuple(_confidence(score[rows], task) for rows in windows),
        expectation=expectation,
        segments=tuple(
            segment_excess(
                {name: features[rows[known[rows]], place] for place, name in enumerate(names) if name in categories},
                expectation.excess(label[rows][known[rows]], score[rows][known[rows]]),
                schemes,
            )
            for rows in windows
        )
        if categories
        else (),
        classes=tuple(named),
        made_of=made_of,
    )


def missing_share(profile: Mapping[str, ColumnProfile], names: Sequence[str]) -> float:
    """Return the share of missing values over all features of a window."""
    cells = sum(profile[name].n for name in names)
    return sum(profile[name].missing for name in names) / cells if cells else 0.0


def _profile_rows(
    matrix: npt.NDArray[np.float32], schemes: Mapping[str, Bins], correlations: Correlations
) -> dict[str, ColumnProfile]:
    profiles = dict(zip(schemes, profile_matrix(matrix, list(schemes.values())), strict=True))
    place = {name: column for column, name in enumerate(schemes)}
    watched = matrix[:, [place[name] for name in correlations.names]]
    return profiles | {ENTRY: correlations.profile_matrix(watched)}


def _schemes(
    matrix: npt.NDArray[np.float32],
    columns: Sequence[str],
    windows: Sequence[npt.NDArray[np.int64]],
    categories: Collection[str],
) -> dict[str, Bins]:
    """Return how each column is counted. windows: the rows of each."""
    owner = np.zeros(len(matrix), np.int64)
    for place, rows in enumerate(windows):
        owner[rows] = place
    return {
        name: CategoryBins.from_reference(matrix[:, place], windows=owner)
        if name in categories
        else NumericBins.from_reference(matrix[:, place])
        for place, name in enumerate(columns)
    }


def _windows(times: npt.NDArray[np.int64], window: int) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each window, oldest first; small ones are merged forwards, a small last one backwards."""
    each = [rows for _, rows in split(Windowing(window, 0).number(times))]
    least = SMALLEST_SHARE * float(np.median([len(rows) for rows in each]))
    merged: list[npt.NDArray[np.int64]] = []
    held = np.zeros(0, np.int64)
    for rows in each:
        held = np.concatenate([held, rows])
        if len(held) >= least:
            merged.append(held)
            held = np.zeros(0, np.int64)
    if len(held):
        merged[-1:] = [np.concatenate([*merged[-1:], held])]
    return merged


def _labelled(
    y: Floats,
    score: Floats,
    expectation: Expectation,
    threshold: float,
    own: RowMoney | None,
    classes: Sequence[str],
    costs: impact.Costs,
) -> Labelled | None:
    if not len(y):
        return None
    task, priced = expectation.task, classes if any(PAIR in kind for kind in costs) else ()
    probable = RULES[task].confidence is not None
    return Labelled(
        rows=len(y),
        excess=float(expectation.excess(y, score).mean()),
        mistakes=impact.mean_mistakes(y, score, task=task, threshold=threshold, own=own, classes=classes),
        log_loss=metric_value("log_loss", y, score) if probable else None,
        squared_error=None if probable else float(RULES[task].squared(y, score, threshold).mean()),
        expected=expectation.mistakes(score, threshold=threshold, own=own, classes=priced),
        metrics={name: value for name, value in _summary(y, score, task, threshold) if math.isfinite(value)},
    )


def _summary(y: Floats, score: Floats, task: Task, threshold: float) -> Iterator[tuple[str, float]]:
    for name in BY_TASK[task].summary:
        yield name, metric_value(name, y, score, threshold=threshold)


def _confidence(score: Floats, task: Task) -> float | None:
    rules = RULES[task]
    known = score[np.isfinite(rules.main_score(score))]
    return float(rules.confidence(known).mean()) if rules.confidence is not None and len(known) else None


def _micros(timestamps: npt.ArrayLike) -> npt.NDArray[np.int64]:
    times = np.asarray(timestamps)
    return times.astype("datetime64[us]").astype(np.int64) if times.dtype.kind == "M" else times.astype(np.int64)


def _packed(bins: Bins, profiles: Sequence[ColumnProfile]) -> _Column:
    return _Column(
        scheme=bins.to_dict(),
        counts=[list(p.counts) for p in profiles],
        total=[p.total for p in profiles],
        squares=[p.squares for p in profiles],
        minimum=[p.minimum if np.isfinite(p.minimum) else None for p in profiles],
        maximum=[p.maximum if np.isfinite(p.maximum) else None for p in profiles],
    )


def _unpacked(bins: Bins, column: _Column, rows: Sequence[int]) -> list[ColumnProfile]:
    kind: Literal["ordered", "category"] = "ordered" if isinstance(bins, NumericBins) else "category"
    return [
        ColumnProfile(
            kind,
            bins.fingerprint,
            tuple(counts),
            n,
            total,
            squares,
            np.inf if low is None else low,
            -np.inf if high is None else high,
        )
        for counts, n, total, squares, low, high in zip(
            column.counts, rows, column.total, column.squares, column.minimum, column.maximum, strict=True
        )
    ]
