"""The section `rollout` of trimtab.yaml: how a new bundle reaches traffic."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from trimtab import units
from trimtab.metric_catalog import BY_TASK, MONEY, Task
from trimtab.policy.section import Section
from trimtab.policy.values import Confidence, Duration, MetricOrMoney, Percent, Share


class PromoteWhen(Section):
    """Evidence that promotes a challenger: losses of both on the same labelled rows, window by window.

    It is promoted when its mean gain is so many standard errors above zero, less the loss that is tolerated, that a
    look after every window cannot produce it by luck. Standard errors are widened for windows that resemble the one
    before, for rare large losses and for few windows. Windows that the candidate was held out from count as evidence,
    if the champion was not trained on them either.
    """

    metric: MetricOrMoney | None = None
    """What is compared, and computed for every window; left out, {promotion}. `money` is what mistakes cost a
    prediction, by `impact.cost` or the function of `@model.impact`; the gates' held-out windows are no evidence of
    it."""
    confidence: Confidence = 0.95
    """Confidence that the challenger is better; it holds however often the windows are judged, up to `max_windows`."""
    tolerate: float = Field(default=0.0, ge=0)
    """By how much the challenger may at worst be worse, in the metric's unit. A quarter of the usual difference between
    windows decides in a fraction of the time; an equal challenger is then promoted, too."""
    min_labels: int = Field(default=1000, ge=0)
    """No verdict on fewer labels of live windows."""
    min_windows: int = Field(default=20, ge=2)
    """No verdict on fewer windows, held-out ones included."""
    min_live_windows: int = Field(default=5, ge=1)
    """No verdict on fewer live windows; `min_windows` of them are enough."""
    max_windows: int = Field(default=60, ge=2)
    """Without a verdict after so many live windows the challenger is abandoned."""
    smallest_effect: float = Field(default=0.0, ge=0)
    """Smallest improvement worth having, in the metric's unit; no hope of it ends the comparison early."""

    @model_validator(mode="after")
    def _possible(self) -> PromoteWhen:
        for key in ("min_windows", "min_live_windows"):
            if key in self.model_fields_set and getattr(self, key) > self.max_windows:
                raise ValueError(
                    f"{key} {getattr(self, key)} is more than max_windows {self.max_windows}: "
                    "nothing can ever be promoted"
                )
        return self

    def metric_for(self, task: Task) -> str:
        """Return the metric by which versions of a model of a task are compared, or MONEY."""
        return self.metric or BY_TASK[task].promotion

    def quality_for(self, task: Task) -> str:
        """Return the metric that reports show: that of the comparison, or the task's where money is compared."""
        return BY_TASK[task].promotion if self.metric == MONEY else self.metric_for(task)


class RollbackWhen(Section):
    """Limits that roll back at once: judged window by window by the loop, and within seconds by the gateway's guard."""

    error_rate: Share | None = None
    """Largest share of failed predictions; left out, only a canary is judged, by the share of its champion or 1%,
    whichever is larger. It is broken when a lower bound of the share exceeds it: one failure of twenty does not prove a
    high share."""
    p99: Duration | None = None
    """Longest time that 99 of 100 predictions may take, those a fallback answered included; left out, any. It is
    broken when chance does not explain how many took longer. Turns of prompts are not held to it."""
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
    value: float | str | None = None
    """This score is the answer where no rule is declared, or the rule cannot answer; of a multiclass model the name of
    a class. Left out, the request fails."""
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
    watch: Literal["review", "rollback"] | None = None
    """The champion before stays as a shadow after a promotion, and both are compared: when it leads clearly, a person
    is asked to look, or it serves again; left out, none stays. With `retrain.refresh` former champions always do."""

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
