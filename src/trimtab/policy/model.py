"""trimtab.yaml as pydantic models: every key with its unit, default and meaning.

The text under a field is its meaning; docs/policy.md and the JSON Schema are made from it.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from trimtab.errors import nearest
from trimtab.metric_catalog import CHAT, CONTAMINATION, Task
from trimtab.policy.alert_channels import Alerts
from trimtab.policy.data_checks import (
    Distribution,
    Duplicates,
    Evolution,
    FeatureChecks,
    Freshness,
    KeptTables,
    Reference,
    Volume,
)
from trimtab.policy.decide import Decide, Impact, Retrain
from trimtab.policy.deploy.section_deploy import Deploy
from trimtab.policy.environments import LOCAL, NAME, Environment, shares_records
from trimtab.policy.feature_values import Features
from trimtab.policy.gates import Gates
from trimtab.policy.gateway_section import Console, Serving
from trimtab.policy.llm.section_llm import METRICS, Llm
from trimtab.policy.policy_kpis import PolicyKpi
from trimtab.policy.rollout import Rollout
from trimtab.policy.search import Search
from trimtab.policy.section import Section
from trimtab.policy.trigger_rules import TriggerRules
from trimtab.policy.values import (
    Bytes,
    Duration,
    Share,
)

YAML = (".yaml", ".yml")
SCHEMA_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


class TableCheck(Section):
    """Checks of one table; `flights: checks.Flights` is short for `flights: { schema: checks.Flights }`."""

    schema_: str | None = Field(default=None, alias="schema")
    """`module.Name` of a Pandera schema or model in the project folder, or a file such as `checks/flights.yaml` in
    Pandera's format; left out, only types are checked."""
    max_failing_rows: Share | None = None
    """Takes the place of the share for all tables."""
    volume: Volume | None = None
    """Rows of a batch; left out, any number."""
    freshness: Freshness | None = None
    """Age of the newest row; left out, any."""
    duplicates: Duplicates | None = None
    """Rows that repeat others; left out, they are reported."""
    references: dict[str, Reference] = {}
    """By column the column of another table that has its values."""
    distribution: Distribution | None = None
    """Values compared with the last good batches; left out, they are not."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        if isinstance(data, str):
            if not data.endswith(YAML) and not SCHEMA_NAME.fullmatch(data):
                raise ValueError(
                    f"'{data}' names no schema; expected module.Name, such as checks.Flights, or a file such as "
                    "checks/flights.yaml"
                )
            return {"schema": data}
        return data


def _tables_in_short(schema: dict[str, Any]) -> None:
    schema["additionalProperties"] = {"anyOf": [{"type": "string"}, schema["additionalProperties"]]}


class Checks(BaseModel):
    """What a batch must look like to enter a table. There is one further key for each table that has checks."""

    model_config = ConfigDict(extra="allow", frozen=True, json_schema_extra=_tables_in_short)

    max_failing_rows: Share = 0.01
    """A batch with a larger share of failing rows is refused whole; in a smaller one they are quarantined."""
    evolution: Evolution = Evolution()
    """Batches whose columns differ from the table's."""
    features: FeatureChecks = FeatureChecks()
    """Features of training sets."""

    __pydantic_extra__: dict[str, TableCheck] = Field(init=False)

    @model_validator(mode="before")
    @classmethod
    def _earlier_key(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("schema_changes"), str):
            raise ValueError(
                "schema_changes is now evolution; schema_changes: add_columns becomes evolution: { add_columns: allow }"
            )
        return data

    @property
    def tables(self) -> dict[str, TableCheck]:
        """Checks by table name."""
        return dict(self.__pydantic_extra__ or {})


class Training(Section):
    """How training sets are cut and runs are made."""

    history: Duration | None = None
    """How far back examples go; left out, all the way."""
    features_from: Literal["offline", "log", "compare"] = "offline"
    """offline: training sets have the features that the tables give; compare: the same, and the training set says how
    often the prediction log has other values; log: rows that were served have the values that were served."""
    holdout: Share = Field(default=0.2, gt=0, lt=1)
    """Latest share of the examples' time that gates are measured on and the trainer never sees."""
    seed: int = 0
    """Handed to the trainer: the same seed, data and code make the same model."""
    params: dict[str, Any] = {}
    """Handed to the trainer: as they are, and by name to the keyword parameters that it declares."""
    validation: Share | None = Field(default=None, gt=0, lt=1)
    """Latest share of the training part's time that the trainer gets as `data.validation`, for early stopping; rows
    whose label was not known when it begins are in neither part. Left out, none."""
    folds: int = Field(default=0, ge=0, le=20)
    """Cross-validation over time: the training part is cut into one more stretches than this, and each but the first is
    scored by a fit on what was known before it. 0: none."""
    warm_start: Literal["never", "champion"] = "never"
    """champion: the trainer gets the champion's estimator as `data.previous`, unless it has seen rows that the new
    model is judged on."""
    calibrate: Literal["sigmoid", "isotonic"] | None = None
    """Maps the probabilities of a classifier to frequencies, by its scores of the validation rows; left out, not."""
    search: Search | None = None
    """Search of parameters; left out, none."""
    contamination: Share = Field(default=CONTAMINATION, gt=0, lt=1)
    """Of an anomaly model: share of the training rows that count as anomalies, which sets the model's threshold."""
    min_examples: int = Field(default=500, gt=0)
    """With fewer labelled examples (of an anomaly model: rows) nothing is trained."""
    on: Literal["process", "subprocess", "container", "kubernetes", "ray"] = "process"
    """Where the trainer runs. process: in the one that asks; subprocess: in one of its own, with limits; container: by
    docker or podman; kubernetes: as a Job, by kubectl; ray: as a task of Ray. All but the first see the project folder
    under its own path, and its stores."""
    memory: Bytes | None = None
    """Most memory that the trainer may allocate, except in `process`; a training that needs more fails alone. Left out,
    a `subprocess` may take what the machine has free."""
    image: str | None = None
    """Image of `container` and `kubernetes`; left out, a container gets one of this environment, which is built."""
    claim: str | None = None
    """PersistentVolumeClaim with the project folder, for `kubernetes`."""
    address: str | None = None
    """Address of a Ray cluster, such as ray://head:10001; left out, Ray is started here for each training."""
    refit: Literal["after_gates", "never"] = "after_gates"
    """after_gates: a model that passed is fitted again on all known rows, the holdout's too, and that one is
    registered; never: the model that was judged is."""

    @model_validator(mode="after")
    def _fits(self) -> Training:
        if self.calibrate is not None and self.validation is None:
            raise ValueError("calibrate needs rows that the fit did not see: add a validation, such as 15%")
        twice = sorted(set(self.params) & set(self.search.space)) if self.search else []
        if twice:
            raise ValueError(f"'{twice[0]}' stands in params and in search.space; remove one")
        return self


class Prices(Section):
    """What computing costs, in the currency of `impact`."""

    cpu_hour: float = Field(default=0.04, ge=0)
    """One core for one hour."""
    memory_gb_hour: float = Field(default=0.005, ge=0)
    """One gigabyte of memory for one hour."""


class Policy(Section):
    """The whole of trimtab.yaml."""

    project: str = Field(min_length=1)
    """Name of the project."""
    checks: Checks = Checks()
    """What a batch must look like."""
    tables: KeptTables = KeptTables()
    """How long versions of tables can be read."""
    features: Features = Features()
    """Feature values for serving."""
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
    retrain: Retrain = Retrain()
    """Retraining as maintenance."""
    prices: Prices = Prices()
    """What computing costs."""
    kpis: dict[str, PolicyKpi] = {}
    """Business figures by name, in addition to those of definitions.py."""
    triggers: TriggerRules = {}
    """What starts a retraining or an ingestion besides the loop's own rules, by name."""
    alerts: Alerts = Alerts()
    """Who is told what the loop sees and does."""
    serving: Serving = Serving()
    """The gateway."""
    llm: Llm = Llm()
    """Prompts: language models behind an interface like OpenAI's."""
    console: Console = Console()
    """The pages and the control API."""
    deploy: Deploy = Deploy()
    """Files for CI servers and platforms."""
    environments: dict[str, Environment] = {LOCAL: Environment()}
    """Where things live, by name of the environment; `local` is always there."""

    @field_validator("llm")
    @classmethod
    def _can_compare(cls, llm: Llm, info: ValidationInfo) -> Llm:
        strategy, by = info.data["rollout"].strategy if "rollout" in info.data else None, llm.promote.by
        if by == "judge" and strategy not in (None, "shadow"):
            raise ValueError(
                f"promote.by: judge compares a shadow, turn by turn, and rollout.strategy is {strategy}: in a split "
                "the same users come back window after window, which promotes what is no better. Write rollout: "
                "{ strategy: shadow }, or by: feedback"
            )
        if by == "judge" and llm.promote.metric in METRICS:
            raise ValueError(
                f"promote.metric: users say {llm.promote.metric} of answers that they get, and by: judge compares a "
                "shadow, whose answers reach no user. Write metric: judge:NAME"
            )
        if by == "feedback" and strategy == "shadow":
            raise ValueError(
                "promote.by: feedback compares what users say of both versions, and rollout.strategy is shadow, whose "
                "answers reach no user. Write by: judge, or rollout: { strategy: champion-challenger }"
            )
        return llm

    @field_validator("environments")
    @classmethod
    def _fit_together(cls, environments: dict[str, Environment]) -> dict[str, Environment]:
        for name, each in environments.items():
            if not NAME.fullmatch(name):
                raise ValueError(
                    f"'{name}' is no name for an environment; expected letters, digits and _ . - such as production"
                )
            if (shares := shares_records(name, {LOCAL: Environment(), **environments})) is not None:
                raise ValueError(
                    f"{name}: its records would be those of {shares}, so what serves in {shares} would serve in {name} "
                    f"without a promotion, though {name} asks for one (from, approvals). Leave its folder out, or "
                    "give it metadata of its own"
                )
            if each.from_ is not None and (each.from_ == name or each.from_ not in {LOCAL, *environments}):
                others = sorted({LOCAL, *environments} - {name})
                raise ValueError(f"{name}.from: '{each.from_}' is no other environment.{nearest(each.from_, others)}")
        return environments

    @property
    def kept_shadows(self) -> int:
        """How many former champions stay as shadows."""
        if self.retrain.refresh is not None:
            return self.retrain.refresh.shadows
        return 0 if self.rollout.watch is None else 1

    def in_environment(self, environment: Environment) -> Policy:
        """Return the policy with the keys that differ in an environment."""
        sections = {"serving": environment.serving, "console": environment.console}
        differing = {
            name: getattr(self, name).model_copy(update={key: getattr(found, key) for key in found.model_fields_set})
            for name, found in sections.items()
            if found is not None
        }
        return self.model_copy(update=differing)

    def for_task(self, task: Task) -> Policy:
        """Return the policy with the costs of one task alone.

        A prompt is never changed without measured harm, and its turns take the time of an endpoint, for which the limit
        of predictions, `rollback_when.p99`, is not meant.
        """
        decide, rollout = self.decide, self.rollout
        if task == CHAT:
            decide = decide.model_copy(update={"require_harm": True})
            limits = rollout.rollback_when.model_copy(update={"p99": None})
            rollout = rollout.model_copy(update={"rollback_when": limits})
        return self.model_copy(update={"impact": self.impact.for_task(task), "decide": decide, "rollout": rollout})
