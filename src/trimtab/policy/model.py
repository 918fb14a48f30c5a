"""trimtab.yaml as pydantic models: every key with its unit, default and meaning.

Durations become microseconds (int), shares floats between 0 and 1, sizes bytes, rates money a day.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from trimtab import units
from trimtab.errors import nearest
from trimtab.policy.matrix import DEFAULT_MATRIX, Matrix

HIGHER_IS_BETTER = {
    "roc_auc": True,
    "average_precision": True,
    "accuracy": True,
    "precision": True,
    "recall": True,
    "f1": True,
    "r2": True,
    "log_loss": False,
    "brier": False,
    "rmse": False,
    "mae": False,
}
BOUNDED_BY_ONE = ("roc_auc", "average_precision", "accuracy", "precision", "recall", "f1", "r2")
FAIRNESS_METRICS = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "equalized_odds_ratio",
    "equal_opportunity_difference",
    "equal_opportunity_ratio",
)


def _convert(function: Any) -> BeforeValidator:
    """A key given in a unit; a number that is already converted passes."""
    return BeforeValidator(lambda value: function(value) if isinstance(value, str) else value)


def _metric(name: str) -> str:
    if name not in HIGHER_IS_BETTER:
        raise ValueError(f"unknown metric '{name}'.{nearest(name, HIGHER_IS_BETTER)}")
    return name


def _fairness(name: str) -> str:
    if name not in FAIRNESS_METRICS:
        raise ValueError(f"unknown fairness metric '{name}'.{nearest(name, FAIRNESS_METRICS)}")
    return name


def _retrains(value: object) -> object:
    return value if not isinstance(value, str) else units.per_day(value) * 30


def _passable(gate: str, low: float | None, high: float | None) -> None:
    if low is not None and high is not None and low > high:
        raise ValueError(f"this gate can never pass: {gate} min {low:g} is more than max {high:g}")


Duration = Annotated[int, _convert(units.micros), Field(gt=0)]
Share = Annotated[float, _convert(units.share), Field(ge=0, le=1)]
Bytes = Annotated[int, _convert(units.bytes_), Field(gt=0)]
Noise = Annotated[float, _convert(units.standard_deviations), Field(ge=0)]
PerDay = Annotated[float, _convert(units.per_day), Field(ge=0)]
PerMonth = Annotated[float, BeforeValidator(_retrains), Field(ge=0)]
Metric = Annotated[str, BeforeValidator(_metric)]
FairnessMetric = Annotated[str, BeforeValidator(_fairness)]
Confidence = Annotated[float, Field(gt=0.5, lt=1)]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TableCheck(Section):
    """Checks of one table."""

    schema_: str | None = Field(default=None, alias="schema")
    """`module.Name` of a Pandera schema or model in the project folder; None checks types only."""
    max_failing_rows: Share | None = None
    """Overrides the share of all tables."""


class Checks(BaseModel):
    """Checks by table: `flights: checks.Flights`, beside the limits for all tables."""

    model_config = ConfigDict(extra="allow", frozen=True)

    max_failing_rows: Share = 0.01
    """A batch with a larger share of failing rows is refused whole; below, they are quarantined."""
    schema_changes: Literal["refuse", "add_columns"] = "refuse"
    """What happens to a batch whose columns differ from the table's."""

    @model_validator(mode="before")
    @classmethod
    def _tables(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {
                key: {"schema": value} if isinstance(value, str) and key not in cls.model_fields else value
                for key, value in data.items()
            }
        return data

    __pydantic_extra__: dict[str, TableCheck] = Field(init=False)

    @property
    def tables(self) -> dict[str, TableCheck]:
        """Checks by table name."""
        return dict(self.__pydantic_extra__ or {})


class Training(Section):
    """How training sets are cut and runs are made."""

    history: Duration | None = None
    """How far back examples go; None takes all."""
    holdout: Share = 0.2
    """Latest share of the examples' time that gates are measured on and the trainer never sees."""
    seed: int = 0
    params: dict[str, Any] = {}
    """Handed to the trainer as they are."""
    min_examples: int = Field(default=500, gt=0)
    """Fewer labelled examples are refused."""


class Accuracy(Section):
    """Accuracy gate: the interval's unfavourable end must pass."""

    metric: Metric = "roc_auc"
    min: float | None = None
    max: float | None = None
    """For metrics where less is better, such as log_loss."""
    not_worse_than_champion_by: float | None = Field(default=None, ge=0)
    """Largest loss against the champion on the same rows, in the metric's unit."""
    confidence: Confidence = 0.95
    resamples: int = Field(default=500, ge=100)

    @model_validator(mode="after")
    def _possible(self) -> Accuracy:
        _passable("accuracy", self.min, self.max)
        if self.min is not None and self.metric in BOUNDED_BY_ONE and self.min > 1:
            raise ValueError(f"this gate can never pass: {self.metric} is at most 1, min is {self.min:g}")
        return self


class Bias(Section):
    """Bias gate: differences between groups, by Fairlearn."""

    sensitive: list[str] = Field(min_length=1)
    """Columns of the examples that name the groups."""
    metric: FairnessMetric = "equalized_odds_difference"
    max: float | None = None
    min: float | None = None
    """For ratio metrics."""
    min_group_size: int = Field(default=100, gt=0)
    """Smaller groups are shown but not judged."""

    @model_validator(mode="after")
    def _possible(self) -> Bias:
        _passable("bias", self.min, self.max)
        if self.max is None and self.min is None:
            raise ValueError("needs max (for a difference) or min (for a ratio)")
        return self


class Robustness(Section):
    """Robustness gate: measured drop of the accuracy metric under disturbed inputs."""

    metric: Metric | None = None
    """None takes the accuracy gate's."""
    missing: Share = 0.05
    """Share of values blanked at random."""
    noise: Noise = 0.1
    """Noise added to each feature, in its standard deviations."""
    shifted_units: float | None = None
    """Factor applied to one feature at a time, such as 1000 for a wrong unit; None leaves it out."""
    max_drop: float = Field(default=0.03, ge=0)


class Performance(Section):
    """Performance gate: the packaged bundle measured in a fresh process."""

    p99: Duration = 10_000
    memory: Bytes = 500_000_000


class Gates(Section):
    """Gates that a model must pass before it is registered; one left out is not run."""

    accuracy: Accuracy | None = Accuracy()
    bias: Bias | None = None
    robustness: Robustness | None = None
    performance: Performance | None = Performance()


class PromoteWhen(Section):
    """Evidence for promoting a challenger: paired losses on the same matured labels."""

    metric: Metric = "log_loss"
    confidence: Confidence = 0.95
    min_labels: int = Field(default=1000, ge=0)
    min_windows: int = Field(default=10, ge=2)
    max_windows: int = Field(default=60, ge=2)
    """Without a verdict after so many windows the challenger is abandoned."""
    smallest_effect: float = Field(default=0.0, ge=0)
    """Smallest improvement worth having, in the metric's unit; no hope of it ends the comparison early."""

    @model_validator(mode="after")
    def _possible(self) -> PromoteWhen:
        if self.min_windows > self.max_windows:
            raise ValueError(
                f"min_windows {self.min_windows} > max_windows {self.max_windows}: nothing can be promoted"
            )
        return self


class RollbackWhen(Section):
    """Limits that roll back at once, judged per window."""

    error_rate: Share | None = None
    p99: Duration | None = None


class Rollout(Section):
    """How a new bundle reaches traffic."""

    strategy: Literal["champion-challenger", "blue-green"] = "champion-challenger"
    split: dict[Literal["champion", "challenger"], float] = {"champion": 90, "challenger": 10}
    """Percent of the traffic answered by each role; sums to 100."""
    sticky: list[str] | None = None
    """Request columns whose values pin a request to one role; None takes all entity keys."""
    promote_when: PromoteWhen = PromoteWhen()
    rollback_when: RollbackWhen = RollbackWhen()

    @model_validator(mode="after")
    def _adds_up(self) -> Rollout:
        total = sum(self.split.values())
        if abs(total - 100) > 1e-9:
            raise ValueError(f"split adds up to {total:g}; expected 100")
        if any(weight < 0 for weight in self.split.values()):
            raise ValueError("split has a negative weight")
        return self


class Impact(Section):
    """What mistakes cost, and from which loss a day an impact counts as medium or high."""

    currency: str = "USD"
    cost: dict[Literal["false_negative", "false_positive", "absolute_error"], float] = {}
    """Money per mistake; absolute_error is per unit of error of a regression."""
    medium: PerDay = 500.0
    high: PerDay = 5000.0

    @model_validator(mode="after")
    def _ordered(self) -> Impact:
        if self.medium >= self.high:
            raise ValueError(f"medium ({self.medium:g}/day) must be less than high ({self.high:g}/day)")
        return self

    @property
    def threshold(self) -> float:
        """Probability above which saying yes costs less than saying no; 0.5 without costs."""
        negative, positive = self.cost.get("false_negative"), self.cost.get("false_positive")
        if not negative or not positive:
            return 0.5
        return positive / (positive + negative)


class Budget(Section):
    """How much automation may spend."""

    retrains: PerMonth = 8.0
    cost: PerMonth = 200.0


class Decide(Section):
    """The decision matrix and its brakes."""

    window: Duration = units.MICROS["d"]
    matrix: Matrix = Matrix.model_validate(DEFAULT_MATRIX)
    cooldown: Duration = 3 * units.MICROS["d"]
    """After a retraining, none starts automatically for so long (event time)."""
    budget: Budget = Budget()
    labels_mature_after: Duration = 2 * units.MICROS["d"]
    """A window's labels count as complete this long after its end."""
    require_harm: bool = True
    """Automated retraining needs measured harm on labels, not only a shift of inputs."""
    horizon: int = Field(default=100, gt=0)
    """Windows over which a sequential p-value keeps its promise."""
    lateness: Duration = units.MICROS["h"]
    """A window closes when event time has passed its end by this much."""


class Prices(Section):
    """What computing costs."""

    cpu_hour: float = Field(default=0.04, ge=0)
    memory_gb_hour: float = Field(default=0.005, ge=0)


class Serving(Section):
    """The gateway."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    segment_rows: int = Field(default=100_000, gt=0)
    """Rows after which a new segment of the prediction log is begun."""


class Environment(Section):
    """Where things live; an empty entry is embedded, everything under .trimtab/."""

    metadata: str | None = None
    tables: str | None = None
    online: str | None = None
    artifacts: str | None = None
    tracking: str | None = None


class Policy(Section):
    """The whole of trimtab.yaml."""

    project: str
    checks: Checks = Checks()
    training: Training = Training()
    gates: Gates = Gates()
    rollout: Rollout = Rollout()
    impact: Impact = Impact()
    decide: Decide = Decide()
    prices: Prices = Prices()
    serving: Serving = Serving()
    environments: dict[str, Environment] = {"local": Environment()}
