"""trimtab.yaml as pydantic models: every key with its unit, default and meaning.

The text under a field is its meaning; docs/policy.md and the JSON Schema are made from it.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trimtab import units
from trimtab.metric_catalog import BY_TASK, Mistake, Task
from trimtab.policy.gates import Gates
from trimtab.policy.matrix import DEFAULT_MATRIX, Matrix
from trimtab.policy.section import Section
from trimtab.policy.values import (
    Bytes,
    Confidence,
    Cost,
    Duration,
    Metric,
    Percent,
    PerDay,
    PerMonth,
    Share,
)

SCHEMA_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


class TableCheck(Section):
    """Checks of one table; `flights: checks.Flights` is short for `flights: { schema: checks.Flights }`."""

    schema_: str | None = Field(default=None, alias="schema")
    """`module.Name` of a Pandera schema or model in the project folder; left out, only types are checked."""
    max_failing_rows: Share | None = None
    """Takes the place of the share for all tables."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        if isinstance(data, str):
            if not SCHEMA_NAME.fullmatch(data):
                raise ValueError(f"'{data}' names no schema; expected module.Name, such as checks.Flights")
            return {"schema": data}
        return data


def _tables_in_short(schema: dict[str, Any]) -> None:
    schema["additionalProperties"] = {"anyOf": [{"type": "string"}, schema["additionalProperties"]]}


class Checks(BaseModel):
    """What a batch must look like to enter a table. There is one further key for each table that has a schema."""

    model_config = ConfigDict(extra="allow", frozen=True, json_schema_extra=_tables_in_short)

    max_failing_rows: Share = 0.01
    """A batch with a larger share of failing rows is refused whole; in a smaller one they are quarantined."""
    schema_changes: Literal["refuse", "add_columns"] = "refuse"
    """What happens to a batch whose columns differ from the table's."""

    __pydantic_extra__: dict[str, TableCheck] = Field(init=False)

    @property
    def tables(self) -> dict[str, TableCheck]:
        """Checks by table name."""
        return dict(self.__pydantic_extra__ or {})


class Training(Section):
    """How training sets are cut and runs are made."""

    history: Duration | None = None
    """How far back examples go; left out, all the way."""
    holdout: Share = Field(default=0.2, gt=0, lt=1)
    """Latest share of the examples' time that gates are measured on and the trainer never sees."""
    seed: int = 0
    """Handed to the trainer: the same seed, data and code make the same model."""
    params: dict[str, Any] = {}
    """Handed to the trainer as they are."""
    min_examples: int = Field(default=500, gt=0)
    """With fewer labelled examples nothing is trained."""


class PromoteWhen(Section):
    """Evidence that promotes a challenger: losses of both on the same matured labels, window by window."""

    metric: Metric | None = None
    """What is compared, and computed for every window; left out, {promotion}."""
    confidence: Confidence = 0.95
    """Confidence that the challenger is better; it holds however often the windows are judged."""
    min_labels: int = Field(default=1000, ge=0)
    """No verdict on fewer labels."""
    min_windows: int = Field(default=10, ge=2)
    """No verdict on fewer windows."""
    max_windows: int = Field(default=60, ge=2)
    """Without a verdict after so many windows the challenger is abandoned."""
    smallest_effect: float = Field(default=0.0, ge=0)
    """Smallest improvement worth having, in the metric's unit; no hope of it ends the comparison early."""

    @model_validator(mode="after")
    def _possible(self) -> PromoteWhen:
        if self.min_windows > self.max_windows:
            raise ValueError(
                f"min_windows {self.min_windows} is more than max_windows {self.max_windows}: "
                "nothing can ever be promoted"
            )
        return self

    def metric_for(self, task: Task) -> str:
        """Return the metric by which versions of a model of a task are compared."""
        return self.metric or BY_TASK[task].promotion


class RollbackWhen(Section):
    """Limits that roll back at once: judged window by window by the loop, and within seconds by the gateway's guard."""

    error_rate: Share | None = None
    """Largest share of failed predictions; left out, only a canary is judged, by the share of its champion or 1%,
    whichever is larger. It is broken when a lower bound of the share exceeds it: one failure of twenty does not prove a
    high share."""
    p99: Duration | None = None
    """Longest time that 99 of 100 predictions may take, those a fallback answered included; left out, any. It is
    broken when chance does not explain how many took longer."""
    constant_output: int | None = Field(default=None, gt=1)
    """So many different inputs in a row that all get the same prediction break the limit; left out, they are not
    counted. An input is the vector of its features; one that comes again, as in a load test, does not count again."""
    output_jump: Share | None = None
    """Largest distance (total variation) between the scores of now and those of the champion before, beyond what
    chance makes of it; left out, none."""
    over: Duration = 30 * units.MICROS["s"]
    """Stretch of wall time that the guard looks back over."""
    min_requests: int = Field(default=50, gt=0)
    """The guard does not judge fewer predictions, but for ten requests or more that failed without exception."""


class Canary(Section):
    """How the canary strategy moves traffic to a new bundle."""

    steps: list[Share] = [0.01, 0.05, 0.25, 0.5]
    """Shares of the traffic that the new bundle gets, one after another, before all of it."""
    hold: Duration = 10 * units.MICROS["m"]
    """How long a step lasts at least (wall time)."""
    min_requests: int = Field(default=100, ge=0)
    """A step is held until the new bundle has answered so many predictions in it; comparisons do not count."""

    @field_validator("steps")
    @classmethod
    def _rise(cls, steps: list[float]) -> list[float]:
        if not steps or sorted(set(steps)) != steps or steps[0] <= 0 or steps[-1] >= 1:
            raise ValueError("expected rising shares between 0% and 100%, such as [1%, 5%, 25%, 50%]")
        return steps


class Fallback(Section):
    """What answers when a model fails or is too slow: the champion for another version, then, in this order:
    the champion before, the rule that definitions.py declares with `@model.fallback(inputs=[...])`, a fixed score."""

    previous_champion: bool = True
    """The champion before answers first, while it is warm."""
    value: float | None = None
    """This score is the answer where no rule is declared, or the rule cannot answer; left out, the request fails."""
    slower_than: Duration | None = None
    """A prediction that takes longer is answered by the fallback; left out, only errors are. Holds for models that
    score in threads or processes; a quick one scores on the event loop, where a late answer is simply late."""


class Rollout(Section):
    """How a new bundle reaches traffic."""

    strategy: Literal["champion-challenger", "blue-green", "canary", "shadow"] = "champion-challenger"
    """A challenger shares the traffic until the evidence is in; blue-green swaps at once; a canary gets more traffic
    step by step; a shadow scores copies and answers no request."""
    split: dict[Literal["champion", "challenger"], Percent] = {"champion": 90, "challenger": 10}
    """Percent of the traffic that each role answers, such as 90 or 90%; adds up to 100."""
    sticky: list[str] | None = None
    """Request columns whose values pin a request to one role; left out, all entity keys."""
    canary: Canary = Canary()
    """How a canary's share rises."""
    keep_warm: Duration = units.MICROS["d"]
    """How long the champion before stays loaded after a change, so that a rollback is a swap."""
    fallback: Fallback = Fallback()
    """What answers when a model fails or is too slow."""
    promote_when: PromoteWhen = PromoteWhen()
    """What promotes a challenger."""
    rollback_when: RollbackWhen = RollbackWhen()
    """What rolls back at once."""

    @field_validator("split")
    @classmethod
    def _adds_up(cls, split: dict[str, float]) -> dict[str, float]:
        for role, weight in split.items():
            if weight < 0:
                raise ValueError(f"{role} has {weight:g}; expected a share from 0 to 100 percent")
        total = sum(split.values())
        if abs(total - 100) > 1e-9:
            percent = ", ".join(f"{role}: {weight * 100:g}" for role, weight in split.items())
            hint = f" percent; write {percent}" if abs(total - 1) <= 1e-9 else ""
            raise ValueError(f"adds up to {total:g}; expected 100{hint}")
        return split


class Impact(Section):
    """What mistakes cost, and from which loss a day on an impact counts as medium or high."""

    currency: str = "USD"
    """Name of the currency; nothing is converted."""
    cost: dict[Mistake, Cost] = {}
    """Money for each mistake. Of a binary model: false_negative, false_positive. Of a regression, for each unit of
    error: absolute_error, over_prediction (too high), under_prediction (too low); they add up."""
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
        return self

    @property
    def threshold(self) -> float:
        """Probability above which saying yes costs less than saying no; 0.5 without costs."""
        negative, positive = self.cost.get("false_negative"), self.cost.get("false_positive")
        if not negative or not positive:
            return 0.5
        return positive / (positive + negative)

    def cost_for(self, task: Task) -> dict[Mistake, float]:
        """Return the prices of the mistakes that a model of a task can make."""
        return {kind: price for kind, price in self.cost.items() if kind in BY_TASK[task].costs}

    def for_task(self, task: Task) -> Impact:
        """Return the same section with the costs of one task alone."""
        return self.model_copy(update={"cost": self.cost_for(task)})


class Budget(Section):
    """How much automation may spend; beyond it a retraining waits for review."""

    retrains: PerMonth = 8.0
    """Retrainings that start by themselves."""
    cost: PerMonth = 200.0
    """Money for training."""


class Decide(Section):
    """When the loop looks, what it then does, and its brakes."""

    window: Duration = units.MICROS["d"]
    """Length of the windows of event time that are judged."""
    matrix: Matrix = Matrix.model_validate(DEFAULT_MATRIX)
    """Bands of p-values by name, each with what is done at low, medium and high business impact."""
    cooldown: Duration = 3 * units.MICROS["d"]
    """After a retraining none is started or proposed for so long (event time); after a refused one for a quarter."""
    budget: Budget = Budget()
    """How much automation may spend."""
    labels_mature_after: Duration = 2 * units.MICROS["d"]
    """A window's labels count as complete so long after its end."""
    require_harm: bool = True
    """A retraining starts by itself only when the sequential p-value is below 0.01 and harm is measured, on labels or
    in money, not when inputs shift alone. With false the matrix and the other brakes decide."""
    horizon: int = Field(default=100, gt=0)
    """Windows for which a sequential p-value keeps its promise."""
    lateness: Duration = units.MICROS["h"]
    """A window closes when event time has passed its end by so much."""


class Prices(Section):
    """What computing costs, in the currency of `impact`."""

    cpu_hour: float = Field(default=0.04, ge=0)
    """One core for one hour."""
    memory_gb_hour: float = Field(default=0.005, ge=0)
    """One gigabyte of memory for one hour."""


class Log(Section):
    """The prediction log."""

    durability: Literal["acknowledged", "interval"] = "acknowledged"
    """acknowledged: an answer leaves when its row would survive the death of the machine (requests share one disk
    flush); interval: when it would survive the death of the process, with a flush every `interval`."""
    interval: Duration = units.MICROS["s"]
    """Time between two flushes."""
    when_full: Literal["serve", "refuse"] = "serve"
    """When rows cannot be written: serve and record the gap, or refuse to answer."""
    segment_rows: int = Field(default=100_000, gt=0)
    """Rows after which a new segment begins."""
    segment_age: Duration = units.MICROS["h"]
    """Time after which a new segment begins."""
    retention: Duration = 400 * units.MICROS["d"]
    """How long rows are kept."""


class Tls(Section):
    """Files for encrypted connections."""

    certificate: str
    """PEM file with the certificate and its chain."""
    key: str
    """PEM file with the private key."""
    client_ca: str | None = None
    """PEM file with the authorities whose certificates clients must show (mTLS); left out, clients show none."""


class Serving(Section):
    """The gateway."""

    host: str = "127.0.0.1"
    """Address that it listens on; one that other machines can reach needs `authentication: tokens`."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port that it listens on; 0 takes a free one."""
    grpc_port: int | None = Field(default=None, ge=0, le=65535)
    """Port of the gRPC service (8081 is usual; 0 takes a free one); left out, there is none."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that answer."""
    authentication: Literal["none", "tokens"] = "none"
    """Whether callers must bring a bearer token (trimtab token create)."""
    tls: Tls | None = None
    """Left out, connections are not encrypted."""
    allowed_hosts: list[str] = []
    """Host names, in addition to those of this machine, that requests may be sent to, such as a proxy's
    `gateway.example.com`, or `*.example.com`; `*` allows any. Left out, a gateway that asks for tokens takes any,
    another one this machine's."""
    allowed_origins: list[str] = []
    """Sites whose pages may send requests from browsers, such as `https://app.example.com`; `*` allows any. Left out,
    pages of other sites are refused where no token is asked for."""
    max_body: Bytes = 16 * 2**20
    """Largest request body."""
    max_rows: int = Field(default=100_000, gt=0)
    """Most rows that one request may bring."""
    max_waiting_rows: int = Field(default=20_000, gt=0)
    """With so many rows waiting in a worker, further requests are refused for now (503). Requests of more than
    1,024 rows count apart: two of `max_rows` are taken at once."""
    timeout: Duration = 30 * units.MICROS["s"]
    """A request that takes longer is answered with 504."""
    drain: Duration = 10 * units.MICROS["s"]
    """Time that requests under way get when the gateway stops."""
    drain_delay: Duration | None = None
    """Time for which a stopping gateway continues to serve while it reports not ready, so that load balancers stop
    sending requests; null: none."""
    load_timeout: Duration = 180 * units.MICROS["s"]
    """A bundle that takes longer to be opened and warm is refused; the model before continues to serve."""
    checks: Literal["warn", "refuse", "off"] = "warn"
    """What becomes of rows whose request columns are not as the checks of the source, or the training rows, have them:
    they are answered and counted, refused with the row and the column (400), or not looked at."""
    log: Log = Log()
    """The prediction log."""
    trust: list[str] = []
    """What may be loaded beyond ONNX, LightGBM and XGBoost files: `pyfunc` for MLflow models that hold pickles, and
    names of Python types that skops files may hold."""
    signed_by: str | None = None
    """PEM file with the public key that bundles must be signed with; left out, signatures are not asked for."""


class Environment(Section):
    """Where things live; what is left out is embedded, under .trimtab/ in the project folder."""

    metadata: str | None = None
    """SQLAlchemy URL (sqlite or postgresql) of the records and the workflows."""
    tables: str | None = None
    """Folder of the versioned tables."""
    online: str | None = None
    """Folder of the feature values for serving."""
    artifacts: str | None = None
    """Folder of the training sets and bundles."""
    predictions: str | None = None
    """Folder of the prediction log, or kafka://host:port/topic."""
    tracking: str | None = None
    """MLflow tracking URI of runs and the registry."""


class Policy(Section):
    """The whole of trimtab.yaml."""

    project: str = Field(min_length=1)
    """Name of the project."""
    checks: Checks = Checks()
    """What a batch must look like."""
    training: Training = Training()
    """How training sets are cut and runs are made."""
    gates: Gates = Gates()
    """What a run must pass."""
    rollout: Rollout = Rollout()
    """How a new bundle reaches traffic."""
    impact: Impact = Impact()
    """What mistakes cost."""
    decide: Decide = Decide()
    """When the loop acts."""
    prices: Prices = Prices()
    """What computing costs."""
    serving: Serving = Serving()
    """The gateway."""
    environments: dict[str, Environment] = {"local": Environment()}
    """Where things live, by name of the environment; `local` is always there."""

    def for_task(self, task: Task) -> Policy:
        """Return the policy with the costs of one task alone."""
        return self.model_copy(update={"impact": self.impact.for_task(task)})
