"""The section `training.search` of trimtab.yaml: which parameters are tried, how often, and what that may cost."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from trimtab.policy.section import Section
from trimtab.policy.values import Cost, Duration, Metric, Written


def _number(value: Any) -> int | float:
    """Return a number as it was written: whole, or not. YAML reads 1e-3 as text."""
    try:
        found = value if isinstance(value, int) and not isinstance(value, bool) else float(str(value))
    except ValueError:
        raise ValueError(f"expected a number, found {value!r}") from None
    if not math.isfinite(found):
        raise ValueError(f"expected a finite number, found {value}")
    return found


Number = Annotated[Any, BeforeValidator(_number), Written("number", {"type": "number"})]
Choices = Annotated[list[Any], Field(min_length=1), Written("list", {"type": "array", "minItems": 1})]


class SearchRange(Section):
    """The values of one parameter; a list is short for `choices`."""

    low: Number | None = None
    """Smallest value. Whole numbers are drawn where `low`, `high` and `step` are written as whole numbers."""
    high: Number | None = None
    """Largest value; it may be drawn itself."""
    step: Number | None = None
    """Distance of neighbouring values; left out, 1 for whole numbers, none for others."""
    log: bool = False
    """Drawn on the scale of the logarithm, as it suits rates."""
    choices: Choices | None = None
    """Values to choose from, in place of `low` and `high`: texts, numbers, true, false or null."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        return {"choices": data} if isinstance(data, list) else data

    @model_validator(mode="after")
    def _whole(self) -> SearchRange:
        if self.choices is not None:
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ValueError("choices stand alone, without low, high, step and log")
            for value in self.choices:
                if not isinstance(value, str | int | float | bool | None):
                    raise ValueError(f"{value!r} is no choice; expected text, a number, true, false or null")
            return self
        if self.low is None or self.high is None:
            raise ValueError("expected low and high, or choices, such as { low: 0.01, high: 0.3, log: true }")
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be less than high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({self.low:g}) must be more than 0 on the scale of the logarithm")
        if self.step is not None and (self.log or self.step <= 0):
            raise ValueError(f"a step ({self.step:g}) is more than 0, and does not go with log")
        return self

    @property
    def whole_numbers(self) -> bool:
        """Whether whole numbers are drawn."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))


class SearchBudget(Section):
    """What a search may use; at the first limit no further trial starts."""

    cpu: Duration | None = None
    """Processor time of all trials; left out, no limit."""
    cost: Cost | None = None
    """Money for all trials, by `prices` and in the currency of `impact`; left out, no limit."""


def _lists_in_short(schema: dict[str, Any]) -> None:
    schema["additionalProperties"] = {"anyOf": [{"type": "array"}, schema["additionalProperties"]]}


class Search(Section):
    """Search of parameters before the training, on folds of the training part. A search that was killed is resumed."""

    space: dict[str, SearchRange] = Field(min_length=1, json_schema_extra=_lists_in_short)
    """The parameters that are searched; the best ones are added to `training.params`."""
    trials: int = Field(default=20, ge=1)
    """How many sets of parameters are tried; one that is pruned or fails counts."""
    timeout: Duration | None = None
    """When all trials together took so long (wall time), no further one starts; left out, no limit."""
    budget: SearchBudget = SearchBudget()
    """What a search may use."""
    metric: Metric | None = None
    """By which sets of parameters are compared, in its better direction; left out, {promotion}."""
    folds: int = Field(default=3, ge=1, le=20)
    """A trial's value is the mean over so many folds, each of later time than the rows that are trained on."""
    sampler: Literal["tpe", "random"] = "tpe"
    """How the next set is chosen: by what was found so far (tree-structured Parzen estimator), or at random."""
    pruner: Literal["median", "none"] = "median"
    """median: a trial ends early when its mean over the folds so far is worse than the median of earlier trials after
    as many folds."""
    seed: int | None = None
    """Of the sampler; left out, that of the training."""
