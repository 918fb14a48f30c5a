"""The section `gates` of trimtab.yaml: what a run must pass before it becomes a bundle.

Each gate has one section class here, one field in `Gates`, and one row in `gates/table.py`. Keys that are left out
follow the model's task; `metric_for` and `limits_for` return what holds for a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from trimtab.metric_catalog import BY_TASK, FAIRNESS, HIGHEST, LOWEST, METRICS, Task, fitting, of_models
from trimtab.policy.section import Section
from trimtab.policy.values import Bytes, ColumnSet, Confidence, Duration, FairnessMetric, Metric, Noise, Share

DEFAULT_DROP = 0.03
DEFAULT_RELATIVE_DROP = 0.1
DEFAULT_BINS = 10
DEFAULT_COVERAGE = 0.9


_FAIRNESS_LIMITS = {
    "difference": ("max", "is 0 when groups fare alike, and more when they do not"),
    "ratio": ("min", "is 1 when groups fare alike, and less when they do not"),
    "min": ("min", "is the value of the group with the lowest"),
    "max": ("max", "is the value of the group with the highest"),
}
"""End of a fairness metric's name -> the limit that suits it, and why."""


class Misfit(NamedTuple):
    """A value that does not fit a model's task."""

    key: str
    value: str
    expected: tuple[str, ...]
    """Values that fit."""


class GateSection(Section):
    """Base of the sections of single gates."""

    GATE: ClassVar[str]
    """Key of the section below `gates`, and name of the gate in its results."""

    def misfits(self, task: Task) -> Iterator[Misfit]:
        """Yield the values that do not fit a model of a task."""
        yield from ()

    def unusable(self, tasks: Iterable[Task]) -> Iterator[tuple[str, str]]:
        """Yield the keys that are given although no model of these tasks can meet them, each with the reason."""
        yield from ()

    def columns(self) -> Iterator[tuple[str, str]]:
        """Yield the columns of the examples that the gate needs, each with the key that names it."""
        yield from ()

    def features(self) -> Iterator[tuple[str, str]]:
        """Yield the features that the section names, each with its key."""
        yield from ()

    def columns_or_features(self) -> Iterator[tuple[str, str]]:
        """Yield the names of columns of the examples or of features, each with its key."""
        yield from ()

    def within(self, gates: Gates) -> Self:
        """Return the section completed by those of other gates."""
        return self


def names_in(columns: ColumnSet) -> tuple[str, ...]:
    """Return the names of one column, or of several that are looked at together."""
    return (columns,) if isinstance(columns, str) else tuple(columns)


class DropLimit(GateSection):
    """Base of the sections that limit by how much the accuracy metric may be worse."""

    usual_drop: ClassVar[float] = DEFAULT_DROP
    usual_relative_drop: ClassVar[float] = DEFAULT_RELATIVE_DROP
    metric: Metric | None
    max_drop: float | None
    max_relative_drop: float | None

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if self.max_drop is not None and self.max_relative_drop is not None:
            raise ValueError("give max_drop or max_relative_drop, not both")
        return self

    def metric_for(self, task: Task) -> str:
        """Return the metric that is measured for a model of a task."""
        return self.metric or BY_TASK[task].accuracy_gate

    def misfits(self, task: Task) -> Iterator[Misfit]:
        """Yield a metric of another task."""
        return _misfit("metric", self.metric, task)

    def within(self, gates: Gates) -> Self:
        """Return the section with the metric of the accuracy gate where it names none."""
        if self.metric is not None or gates.accuracy is None:
            return self
        return self.model_copy(update={"metric": gates.accuracy.metric})

    def limit_for(self, metric: str, usual: float) -> float:
        """Return the largest change for the worse that passes, in the metric's unit. usual: the metric without it."""
        if self.max_drop is not None:
            return self.max_drop
        if self.max_relative_drop is not None:
            return self.max_relative_drop * abs(usual)
        facts = METRICS.get(metric)  # None for the share of changed decisions
        in_label_units = facts is not None and facts.in_label_units
        return self.usual_relative_drop * abs(usual) if in_label_units else self.usual_drop


def _misfit(
    key: str, name: str | None, task: Task, tasks: Mapping[str, tuple[Task, ...]] | None = None
) -> Iterator[Misfit]:
    """Yield a metric that is for another task. tasks: as `fitting` takes them."""
    expected = fitting(task, tasks)
    if name is not None and name not in expected:
        yield Misfit(key, name, tuple(expected))


class Accuracy(GateSection):
    """Accuracy gate: the unfavourable end of the confidence interval must pass. Without a limit the gate warns unless
    the interval excludes a model without skill."""

    GATE = "accuracy"

    metric: Metric | None = None
    """Metric on the holdout; left out, {accuracy_gate}."""
    min: float | None = None
    """Lowest value that passes, for metrics where more is better."""
    max: float | None = None
    """Highest value that passes, for metrics where less is better."""
    not_worse_than_champion_by: float | None = Field(default=None, ge=0)
    """Largest loss against the champion on the same rows, in the metric's unit; left out, they are not compared. Rows
    that the champion was fitted on do not count, and with fewer than 10 days of others it is not compared."""
    confidence: Confidence = 0.95
    """Confidence of the interval."""
    resamples: int = Field(default=2000, ge=100)
    """Resamples of the studentised bootstrap of days, which widens intervals where days are skewed."""

    @model_validator(mode="after")
    def _possible(self) -> Accuracy:
        name = self.metric or "the metric"
        if self.metric is not None:
            facts, limits = METRICS[self.metric], {"min": self.min, "max": self.max}
            for other in limits.keys() - {facts.limit}:
                if limits[other] is not None:
                    raise ValueError(f"give {facts.limit}, not {other}: for {name} {facts.better} is better")
        if self.min is not None and self.min > HIGHEST:
            raise ValueError(f"this gate can never pass: {name} is at most {HIGHEST:g}, min is {self.min:g}")
        if self.max is not None and self.max < LOWEST:
            raise ValueError(f"this gate can never pass: {name} is at least {LOWEST:g}, max is {self.max:g}")
        return self

    def metric_for(self, task: Task) -> str:
        """Return the metric that is measured for a model of a task."""
        return self.metric or BY_TASK[task].accuracy_gate

    def limits_for(self, task: Task) -> tuple[float | None, float | None]:
        """Return min and max as they hold for a model of a task: the one that does not fit its metric is None."""
        up = METRICS[self.metric_for(task)].higher_is_better
        return (self.min, None) if up else (None, self.max)

    def misfits(self, task: Task) -> Iterator[Misfit]:
        """Yield a metric of another task."""
        return _misfit("metric", self.metric, task)

    def unusable(self, tasks: Iterable[Task]) -> Iterator[tuple[str, str]]:
        """Yield a limit that no metric of the tasks is judged by."""
        present = list(tasks)
        metrics = [self.metric_for(task) for task in present]
        limits = [METRICS[metric].limit for metric in metrics]
        for limit, given in (("min", self.min), ("max", self.max)):
            if given is not None and limit not in limits:
                yield (
                    limit,
                    f"the metric is {' and '.join(metrics)} (by the task, {' and '.join(present)}); "
                    f"give {limits[0]}, or name another metric",
                )


class Bias(GateSection):
    """Bias gate: differences or ratios between groups, by Fairlearn. The unfavourable end of the 95% interval decides;
    each rate is compared over the groups that have it."""

    GATE = "bias"

    sensitive: list[ColumnSet] = Field(min_length=1)
    """Columns of the examples that name the groups; a list of columns crosses them, as in `[sex, [sex, age]]`."""
    metric: FairnessMetric | None = None
    """Measure that is compared between the groups of each column; left out, {fairness}. A mean error is
    the mean of score minus label, in the label's unit. Each rate of a multiclass model is that of one class against
    the rest, and the worst class counts."""
    max: float | None = None
    """Highest difference, or value of the highest group, that passes; a difference of 0 is none."""
    min: float | None = None
    """Lowest ratio, or value of the lowest group, that passes; a ratio of 1 is no difference."""
    min_group_size: int = Field(default=100, gt=0)
    """Groups with fewer rows are shown but not judged."""
    min_group_labels: int = Field(default=10, gt=0)
    """A true or false positive rate of a group that rests on fewer positive or negative labels is not judged; a warning
    names the group."""
    when_not_judged: Literal["fail", "warn"] = "fail"
    """Verdict on a column without two groups that can be compared."""

    @model_validator(mode="after")
    def _possible(self) -> Bias:
        name = self.metric or "a difference between groups"
        wanted, why = _FAIRNESS_LIMITS[name.rpartition("_")[2] if self.metric else "difference"]
        given = {"min": self.min, "max": self.max}
        if given.pop(wanted) is None or any(value is not None for value in given.values()):
            raise ValueError(f"give {wanted}: {name} {why}")
        if self.max is not None and self.max < LOWEST:
            raise ValueError(f"this gate can never pass: {name} is at least {LOWEST:g}, max is {self.max:g}")
        if self.min is not None and self.min > HIGHEST:
            raise ValueError(f"this gate can never pass: {name} is at most {HIGHEST:g}, min is {self.min:g}")
        return self

    def metric_for(self, task: Task) -> str:
        """Return the metric that groups are compared by for a model of a task."""
        return self.metric or BY_TASK[task].fairness

    def misfits(self, task: Task) -> Iterator[Misfit]:
        """Yield a metric of another task."""
        return _misfit("metric", self.metric, task, FAIRNESS)

    def columns(self) -> Iterator[tuple[str, str]]:
        """Yield the columns that name the groups."""
        yield from (("sensitive", name) for columns in self.sensitive for name in names_in(columns))


class Leakage(GateSection):
    """Leakage gate: does an input contain the outcome? Judged on the holdout by {leakage}."""

    GATE = "leakage"

    single_feature: float = Field(default=0.99, gt=0, le=1)
    """A feature that alone explains more of the label is suspected to contain it; 1 accepts every feature. For a
    regression the squared correlations of values and ranks count, too."""
    max_score: float = Field(default=0.995, gt=0, le=1)
    """A model that reaches more is suspected of leakage; 1 accepts every model."""
    acknowledged: list[str] = Field(default=[])
    """Features that may explain the label alone, because a person has checked that their values are known at the
    request."""

    def features(self) -> Iterator[tuple[str, str]]:
        """Yield the features that may explain the label."""
        yield from (("acknowledged", feature) for feature in self.acknowledged)


class Slices(DropLimit):
    """Slices gate: is the model good enough on parts of the rows, too? A declared slice passes when the unfavourable
    end of the interval of its drop against all rows does. Of the slices that a search finds, one fails that is surely
    worse than the limit, and a warning names one that may be. The level of all intervals is divided by the number of
    slices that are looked at (Bonferroni)."""

    GATE = "slices"
    usual_drop = 0.1
    usual_relative_drop = 0.25

    by: list[ColumnSet] = Field(default=[])
    """Columns of the examples, or features, whose values are slices; a list of columns crosses them, as in
    `[region, [region, channel]]`. Numbers are cut into four parts of as many rows."""
    search: Literal["none", "single", "pairs"] = "single"
    """Looks for the worst slice among the values of each feature and column alone, or of each two."""
    metric: Metric | None = None
    """What is measured; left out, the accuracy gate's metric."""
    min_rows: int = Field(default=200, gt=0)
    """Slices with fewer rows, or in fewer than 10 days, are not judged."""
    max_drop: float | None = Field(default=None, ge=0)
    """Largest drop against all rows that passes, in the metric's unit; 0.1 when neither this nor max_relative_drop is
    given, except for {in_label_units}."""
    max_relative_drop: Share | None = None
    """Largest drop that passes, as a share of the value of all rows; 25% for {in_label_units} when neither this nor
    max_drop is given."""
    confidence: Confidence = 0.95
    """That no interval of any slice misses."""
    when_not_judged: Literal["fail", "warn"] = "fail"
    """Verdict on declared columns without a slice that can be judged."""

    def columns_or_features(self) -> Iterator[tuple[str, str]]:
        """Yield the columns that make slices."""
        yield from (("by", name) for columns in self.by for name in names_in(columns))


class Stability(DropLimit):
    """Stability gate: is the model as good in each stretch of the holdout? The holdout is cut into stretches with as
    many rows each. A stretch that is worse than all rows by more than the limit, and surely worse than them, fails; one
    that may be so by chance, and a metric that falls from stretch to stretch, are warned of."""

    GATE = "stability"
    usual_drop = 0.1
    usual_relative_drop = 0.25

    folds: int = Field(default=5, ge=2, le=50)
    """Stretches of time."""
    metric: Metric | None = None
    """What is measured; left out, the accuracy gate's metric."""
    max_drop: float | None = Field(default=None, ge=0)
    """Largest drop of a stretch against all rows that passes, in the metric's unit; 0.1 when neither this nor
    max_relative_drop is given, except for {in_label_units}."""
    max_relative_drop: Share | None = None
    """Largest drop that passes, as a share of the value of all rows; 25% for {in_label_units} when neither this nor
    max_drop is given."""


class Custom(GateSection):
    """Gates that the project defines with `@tt.gate`. All of them run, and a failure refuses the run."""

    GATE = "custom"

    warn: list[str] = Field(default=[])
    """Gates whose failure is a warning."""
    left_out: list[str] = Field(default=[])
    """Gates that do not run."""


class Robustness(DropLimit):
    """Robustness gate: how much worse the accuracy metric becomes when the inputs are disturbed. Without labels, as an
    anomaly model may be, it is the share of rows that get another decision."""

    GATE = "robustness"

    metric: Metric | None = None
    """What is measured; left out, the accuracy gate's metric."""
    missing: Share = 0.05
    """Share of values that are blanked at random."""
    noise: Noise = 0.1
    """Noise that is added to each feature, in its own standard deviations."""
    shifted_units: float | None = None
    """Factor applied to one feature at a time, such as 1000 for grams where kilograms are due; left out, none is."""
    feature_missing: Share = 0.0
    """Share of the values of one feature at a time that are blanked: 100% is a feature that fails; 0: none."""
    feature_noise: Noise = 0.0
    """Noise that is added to one feature at a time, in its own standard deviations; 0: none."""
    max_drop: float | None = Field(default=None, ge=0)
    """Largest change for the worse that passes, in the metric's unit; 0.03 when neither this nor max_relative_drop is
    given, except for {in_label_units}."""
    max_relative_drop: Share | None = None
    """Largest change for the worse that passes, as a share of the undisturbed value; 10% for {in_label_units}
    when neither this nor max_drop is given, because their unit is the label's."""


class Calibration(GateSection):
    """Calibration gate: do probabilities, or prediction intervals, keep their promise? The upper end of the 95%
    interval decides. A binary model is judged by its expected calibration error: the mean distance between score and
    share of 1, over bins of like score; a multiclass model by that of its worst class; an anomaly
    model by how far the share of rows that it reports is from training.contamination. A regression is judged by how
    much fewer labels than promised lie in its prediction intervals: the widths are made from the earlier half of the
    holdout and judged on the later half."""

    GATE = "calibration"

    max: Share = Field(gt=0)
    """Highest calibration error, or shortfall of the coverage, that passes. With few rows, chance alone makes some
    calibration error; the result names how much."""
    bins: int | None = Field(default=None, ge=2)
    """Bins of scores, with as many rows each; left out, 10."""
    coverage: Confidence | None = None
    """Share of labels that the intervals of a regression promise to hold; left out, 90%."""

    @property
    def bins_or_default(self) -> int:
        """Bins of scores."""
        return self.bins or DEFAULT_BINS

    @property
    def coverage_or_default(self) -> float:
        """Coverage of the intervals that are judged."""
        return self.coverage or DEFAULT_COVERAGE

    def unusable(self, tasks: Iterable[Task]) -> Iterator[tuple[str, str]]:
        """Yield a key of a task that no model has."""
        present = set(tasks)
        of_key: tuple[tuple[str, object, tuple[Task, ...]], ...] = (
            ("bins", self.bins, ("binary", "multiclass")),
            ("coverage", self.coverage, ("regression",)),
        )
        for key, given, tasks in of_key:
            if given is not None and not present & set(tasks):
                yield key, f"only {of_models(tasks)} has such a value, and the project has none; leave it out"


class Performance(GateSection):
    """Performance gate: the packaged bundle, measured in a fresh process. Latency is measured in several rounds; their
    median counts, and the result notes the load of the machine."""

    GATE = "performance"

    p99: Duration = 10_000
    """Longest time that 99 of 100 single-row predictions may take, as the median of the rounds."""
    memory: Bytes = 500_000_000
    """Most memory that the process may use, at its peak. One that takes far more is ended."""
    cold_start: Duration | None = None
    """Longest time from the start of a process to its first prediction; left out, it is noted and not judged."""
    size: Bytes | None = None
    """Most bytes of the bundle's files; left out, they are noted and not judged."""
    cost_per_1000: float | None = Field(default=None, ge=0)
    """Highest cost of 1,000 predictions of single rows, by `prices` and in the currency of `impact`; left out, it is
    noted and not judged."""


class Gates(Section):
    """Gates that a run must pass before it becomes a bundle; set one to null to leave it out."""

    accuracy: Accuracy | None = Accuracy()
    """Is it good enough, and not worse than what serves?"""
    leakage: Leakage | None = Leakage()
    """Do its inputs contain the outcome?"""
    bias: Bias | None = None
    """Does it treat groups alike?"""
    slices: Slices | None = None
    """Is it good enough on parts of the rows?"""
    stability: Stability | None = None
    """Is it as good in each stretch of time?"""
    robustness: Robustness | None = None
    """Does it withstand disturbed inputs?"""
    calibration: Calibration | None = None
    """Do its probabilities, or its prediction intervals, keep their promise?"""
    performance: Performance | None = Performance()
    """Is it fast and small enough to serve?"""
    custom: Custom | None = Custom()
    """Does it pass the project's own gates?"""

    def sections(self) -> dict[str, GateSection]:
        """Return the sections of the gates that are not left out, by name in their order, completed by one another."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: section.within(self) for name, section in found.items() if section is not None}

    def kept(self, features: Iterable[str]) -> tuple[str, ...]:
        """Return the columns of the examples that training sets keep for the gates. features: those of the model."""
        known = set(features)
        found: dict[str, None] = {}
        for section in self.sections().values():
            found |= dict.fromkeys(name for _, name in section.columns())
            found |= dict.fromkeys(name for _, name in section.columns_or_features() if name not in known)
        return tuple(found)
