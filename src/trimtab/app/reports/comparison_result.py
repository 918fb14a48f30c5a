"""What a comparison of two versions gives. Loads no library, so that a reader of results stays light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from trimtab.metric_catalog import Task


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One measure of both versions; the difference is that of the compared one, in the measure's unit."""

    name: str
    unit: str
    """money, share, or empty: that of the metric."""
    value: float | None
    against: float | None
    """On all rows together."""
    gain: float | None
    """Mean over windows of how much better the compared version is, less than 0 when worse; of a rate without a better
    direction, how much larger."""
    low: float | None
    high: float | None
    """Interval of the gain at 95 %, at all looks together; None with too few windows."""
    directed: bool = True
    """Whether the gain says which version is better."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One value of a column: the rows that have it."""

    column: str
    value: str
    rows: int
    metric: Difference
    money: Difference | None


@dataclass(frozen=True, kw_only=True)
class Day:
    """One window: how much better the compared version was."""

    start: datetime
    rows: int
    metric: float | None
    money: float | None
    """A day of the window's traffic."""


@dataclass(frozen=True, kw_only=True)
class ScoreBin:
    """Rows whose scores lie together.

    said: mean score; of several classes the probability of the predicted one. happened: share of the rows with the
    outcome, or in which the predicted class is true; of a regression the mean label. low, high: its 95 % interval, as
    if rows were independent.
    """

    rows: int
    said: float
    happened: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class CalibrationCurve:
    """The scores of one version against what happened. bins: by score, at most 10."""

    version: int
    bins: tuple[ScoreBin, ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What the rule of the policy says."""

    verdict: str
    challenger: int
    champion: int
    metric: str
    """What the rule compares: a metric, or MONEY."""
    watch: bool
    """Whether the challenger is the former champion, which is watched after the promotion of the champion."""
    windows: int
    held_out: int
    labels: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class VersionComparison:
    """A version compared with another one, on the same labelled rows."""

    project: str
    model: str
    task: Task
    version: int
    against: int
    roles: Mapping[str, str]
    """Version -> its role now."""
    start: datetime
    end: datetime
    windows: int
    labels: int
    """Rows that both versions scored and that have a label."""
    predictions_per_day: float
    """Traffic of the model in these windows."""
    currency: str
    confidence: float
    sentence: str
    """The result in one sentence."""
    metric: str
    """The one that the rule compares."""
    money: Difference | None
    """Saved a day, if the version answered all requests of the model; None without costs in the policy."""
    measures: tuple[Difference, ...]
    segments: tuple[Segment, ...]
    days: tuple[Day, ...]
    rule: Rule | None
    calibration: tuple[CalibrationCurve, ...] = ()
    """Of the version and of the other one; empty without rows."""
