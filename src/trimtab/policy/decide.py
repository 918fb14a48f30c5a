"""The sections `impact`, `decide` and `retrain` of trimtab.yaml: what mistakes cost, and when the loop acts."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from trimtab import units
from trimtab.metric_catalog import BY_TASK, Mistake, Task, class_pair
from trimtab.policy.matrix import DEFAULT_MATRIX, Matrix
from trimtab.policy.section import Section
from trimtab.policy.values import Cost, CostMatrix, Duration, Hours, PerDay, PerMonth, Share, Timezone

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)


class Impact(Section):
    """What mistakes cost, and from which loss a day on an impact counts as medium or high."""

    currency: str = "USD"
    """Name of the currency; nothing is converted."""
    cost: dict[Literal[Mistake, "matrix"], Cost | CostMatrix] = {}
    """Money for each mistake. Of a binary or anomaly model: false_negative, false_positive. Of a multiclass model:
    misclassification, and matrix, which gives the money of pairs of the true and the predicted class, such as
    {late: {on_time: 5}}; a pair that it does not name costs misclassification, or nothing. Of a regression, for each
    unit of error: absolute_error, over_prediction (too high), under_prediction (too low); they add up. A function that
    a model declares with `@model.impact` takes their place."""
    medium: PerDay = 500.0
    """From here on the impact is medium."""
    high: PerDay = 5000.0
    """From here on the impact is high."""
    over: Duration = 7 * units.MICROS["d"]
    """Losses are averaged over the windows of this stretch, so that one bad day decides nothing; windows that a version
    has not served yet count as usual."""

    @model_validator(mode="after")
    def _ordered(self) -> Impact:
        if self.medium >= self.high:
            raise ValueError(f"medium ({self.medium:g}/day) must be less than high ({self.high:g}/day)")
        for kind, price in self.cost.items():
            if (kind == "matrix") != isinstance(price, dict):
                expected = "{true class: {predicted class: money}}" if kind == "matrix" else "money"
                raise ValueError(f"cost.{kind} is {price!r}; expected {expected}")
        for true, of in self.matrix.items():
            if true in of:
                raise ValueError(f"cost.matrix.{true}.{true} is no mistake: the right class costs nothing")
        return self

    @property
    def threshold(self) -> float:
        """Probability above which saying yes costs less than saying no; 0.5 without costs."""
        negative, positive = self._price("false_negative"), self._price("false_positive")
        if not negative or not positive:
            return 0.5
        return positive / (positive + negative)

    def cost_for(self, task: Task) -> dict[str, float]:
        """Return the prices of the mistakes that a model of a task can make.

        Those of pairs of classes are what a pair costs beyond any other misclassification.
        """
        found: dict[str, float] = {kind: self._price(kind) for kind in BY_TASK[task].costs if kind in self.cost}
        if "misclassification" in BY_TASK[task].costs:
            usual = self._price("misclassification")
            pairs = [(true, other, price) for true, of in self.matrix.items() for other, price in of.items()]
            found |= {class_pair(true, other): price - usual for true, other, price in pairs}
        return found

    @property
    def matrix(self) -> CostMatrix:
        """Money by true class, and by predicted class in it; empty without a matrix."""
        found = self.cost.get("matrix", {})
        return found if isinstance(found, dict) else {}

    def _price(self, kind: Mistake) -> float:
        found = self.cost.get(kind, 0.0)
        return found if isinstance(found, float) else 0.0

    def for_task(self, task: Task) -> Impact:
        """Return the same section with the costs of one task alone."""
        own = {*BY_TASK[task].costs, *(("matrix",) if "misclassification" in BY_TASK[task].costs else ())}
        return self.model_copy(update={"cost": {kind: price for kind, price in self.cost.items() if kind in own}})


class Budget(Section):
    """How much automation may spend; beyond it a retraining waits for review."""

    retrains: PerMonth = 8.0
    """Retrainings that start by themselves."""
    cost: PerMonth = 200.0
    """Money for training."""


class Reviews(Section):
    """How long a review that proposes a retraining waits for a person (event time)."""

    escalate: Duration | None = 3 * units.MICROS["d"]
    """After so long without an answer it is escalated: a line of `trimtab up`, a mark in the status; null: never."""
    expire: Duration | None = 14 * units.MICROS["d"]
    """After so long the policy rejects it, and the workflow that waits for it ends; null: it waits for ever."""

    @model_validator(mode="after")
    def _ordered(self) -> Reviews:
        if self.escalate is not None and self.expire is not None and self.escalate >= self.expire:
            raise ValueError(
                f"escalate ({units.short(self.escalate)}) must be less than expire ({units.short(self.expire)})"
            )
        return self


class SmallestDrift(Section):
    """Changes of inputs and scores that are smaller count for nothing, however significant many rows make them."""

    sd: float = Field(default=0.075, ge=0)
    """Distance that the values of a numeric column moved (Wasserstein), in standard deviations of the reference. When a
    fifth of the rows crosses one threshold, it counts however short their way."""
    share: Share = 0.01
    """Share of the rows that became missing, or moved into or out of one category."""
    correlation: float = Field(default=0.05, ge=0, le=2)
    """Change of the correlation of two numeric columns."""


class Decide(Section):
    """When the loop looks, what it then does, and its brakes."""

    window: Duration = units.MICROS["d"]
    """Length of the windows of event time that are judged."""
    matrix: Matrix = Matrix.model_validate(DEFAULT_MATRIX)
    """Bands of p-values by name, each with what is done at low, medium and high business impact."""
    cooldown: Duration = 3 * units.MICROS["d"]
    """After a retraining that made a bundle none is started or proposed for so long (event time)."""
    retry_after: Duration = units.MICROS["d"]
    """After one that made none, since a gate refused it or a stage failed, the next waits for so long (event time);
    twice as long after each further one in a row, but no longer than `cooldown`."""
    budget: Budget = Budget()
    """How much automation may spend."""
    max_in_flight: int = Field(default=1, ge=1)
    """So many new versions of a model may be trained or compared at once; no further retraining starts meanwhile."""
    quiet_hours: Hours | None = None
    """In these hours (event time) no retraining starts by itself, and no new version is brought into service; a
    rollback is not held back. Left out, none."""
    quiet_days: list[Weekday] = []
    """Days on which the quiet hours begin; left out, every day."""
    timezone: Timezone = "UTC"
    """Time zone of the quiet hours, such as Europe/Berlin."""
    reviews: Reviews = Reviews()
    """How long a review waits for a person."""
    labels_mature_after: Duration = 2 * units.MICROS["d"]
    """A window's labels count as complete so long after its end."""
    require_harm: bool = True
    """A retraining starts by itself only when the sequential p-value is below 0.01 and harm is measured, on labels or
    in money, not when inputs shift alone. With false the matrix and the other brakes decide."""
    reference: Literal["training", "rolling", "same-season"] = "training"
    """Which windows the inputs and scores of a window are compared with. training: those of the training span; rolling:
    the last 60, so a lasting change becomes the usual; same-season: those of the same weeks a year before, as far as
    the training span and the log of the version hold 30 of them, else those of the training span."""
    segments: list[str] | None = None
    """Category features whose values are searched for the segment with the most unexpected mistakes, at most 30 values;
    null: all category features of the model; []: none."""
    smallest_drift: SmallestDrift = SmallestDrift()
    """The smallest change that may raise an alarm."""
    horizon: int = Field(default=100, gt=0)
    """Windows for which a sequential p-value keeps its promise."""
    lateness: Duration = units.MICROS["h"]
    """A window closes when event time has passed its end by so much."""


class Refresh(Section):
    """Routine retraining: the same recipe on newer rows, with the same gates, whether or not anything drifted."""

    every: Duration = 7 * units.MICROS["d"]
    """A retraining starts so long after the last one (event time)."""
    min_new_rows: Share = 0.01
    """Not before the labelled rows have grown by this share since the last one."""
    promote: Literal["at_once", "compared"] = "at_once"
    """at_once: what passes the gates serves, and the champions before watch it as shadows; compared: as the strategy of
    `rollout` says. Holds for every retraining, routine or not."""
    shadows: int = Field(default=3, ge=0, le=10)
    """So many former champions are scored on copies of the traffic, to be compared with and gone back to."""


class Quarantine(Section):
    """Which windows are suspected: their rows neither train nor judge a model until a person lets them in."""

    enabled: bool = True
    """With false all rows are used."""
    input_leap: float = Field(default=2.0, gt=1)
    """A window is suspected when the mean of a column lies further from the median of its last 7 good ones than this
    multiple of the largest such distance before."""
    missing_jump: Share = 0.2
    """Or when the missing share of a column exceeds the largest one before by so much."""
    loss_leap: float = Field(default=1.5, gt=1)
    """Or when the loss of every model that scores, over 1 or 3 windows, leaps by more than this multiple of the largest
    leap before. Models that were trained on suspected rows do not count."""
    min_windows: int = Field(default=42, gt=0)
    """Nothing is suspected by its loss before so many windows are known."""
    lasts: int = Field(default=21, gt=0)
    """A suspicion that lasts so many windows is a new world: all its rows come back."""
    max_share: Share = 0.15
    """When more of the windows are suspected, the rule does not fit this data: it is dropped, and a person is told."""


class Retrain(Section):
    """Retraining as maintenance, in addition to what the matrix decides."""

    refresh: Refresh | None = None
    """Left out, models are retrained only when the matrix, new data or a person says so."""
    on_new_data: int | None = Field(default=None, gt=0)
    """A retraining starts when so many labelled rows have come since the last one; left out, their number starts
    none."""
    retries: int = Field(default=3, ge=0, le=20)
    """A step of a retraining that fails by what may pass (a store, the system, too little memory) is tried again so
    often; then the retraining ends, and a person is asked."""
    backoff: Duration = 10 * units.MICROS["m"]
    """Pause before the first retry (wall time); each further one is twice as long."""
    timeout: Duration | None = None
    """A training that takes longer (wall time) is ended, and a person is asked; trainings then run in a process of
    their own, which takes some seconds to start. Left out, they take as long as they take."""
    quarantine: Quarantine = Quarantine()
    """Which windows are kept out of training. The rules act where `refresh` is given; what a person holds is held
    anyway."""
