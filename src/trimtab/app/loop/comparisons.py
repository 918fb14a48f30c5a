"""Writes a Comparison for each matured window of a challenger or a shadow: how its gain has grown, window by window.

A record depends on the records before it alone: those of windows, suspicions, gate reports and earlier comparisons. A
new process continues behind the window of the last comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from trimtab.app.rollout.candidate import held_out_evidence
from trimtab.clock import Clock
from trimtab.control.suspicion import held
from trimtab.errors import NotFound
from trimtab.metric_catalog import Task
from trimtab.monitoring.matured import gain_name
from trimtab.monitoring.verdict import (
    Stretch,
    compared_windows,
    for_former_champion,
    look_at,
    paired_windows,
)
from trimtab.policy.model import Policy
from trimtab.policy.rollout import PromoteWhen
from trimtab.records.monitoring import MONEY_GAIN, Comparison, WindowReport
from trimtab.records.training import Bundle
from trimtab.stats.paired_sequence import compare
from trimtab.stores.metadata.contract import Between, Metadata, latest, newest_until


class Comparisons:
    """The comparisons of the models of one project."""

    def __init__(self, metadata: Metadata, clock: Clock) -> None:
        self._metadata = metadata
        self._clock = clock
        self._seen: dict[str, str | None] = {}
        """By model: the newest matured window that was looked at."""

    def step(self, model: str, task: Task, policy: Policy) -> list[Comparison]:
        """Write and return the comparisons of a model's windows that matured since the last step, in their order.

        policy: that by which the model's windows are judged.
        """
        if model not in self._seen:
            last = latest(self._metadata, Comparison, model=model)
            if last is not None and last.unit != "windows":  # of a prompt, by conversations or users
                before = self._metadata.find(Comparison, model=model)
                last = next((each for each in before if each.unit == "windows"), None)
            self._seen[model] = last.window if last else None
        seen = self._seen[model]
        new = newest_until(self._metadata, WindowReport, lambda w: w.id == seen, model=model, stage="matured")
        compared = [w for w in reversed(new) if w.role != "champion" and w.metrics.get("paired_rows")]
        windows = {
            version: compared_windows(self._metadata, model, version) for version in {w.version for w in compared}
        }
        made: list[Comparison] = []
        for window in compared:
            earlier = [w for w in windows[window.version] if w.start <= window.start]
            own = [c for c in made if c.version == window.version]
            made.append(self._compare(window, earlier, task, policy, own))
        self._metadata.put(*made)
        if new:
            self._seen[model] = new[0].id
        return made

    def _compare(
        self,
        window: WindowReport,
        windows: Sequence[WindowReport],
        task: Task,
        policy: Policy,
        made: Sequence[Comparison],
    ) -> Comparison:
        """windows: those of the version up to this one. made: comparisons of it that are not written yet."""
        model, champion = window.model, int(window.metrics["paired_version"])
        rule = policy.rollout.promote_when
        metric = rule.metric_for(task)
        suspected = held(self._metadata, model, as_of=window.end)
        former = window.role == "shadow" and self._was_champion(window)
        if former:
            rule = for_former_champion(rule)
            windows = [w for w in windows if w.metrics.get("paired_version") == champion]
        found = look_at(
            windows,
            champion=champion,
            policy=rule,
            metric=metric,
            limits=None if former else policy.rollout.rollback_when,
            held_out=() if former else self._held_out(window, champion, policy, metric, suspected),
            suspected=suspected,
        )
        stored = self._metadata.find(
            Comparison, model=model, version=window.version, against=champion, oldest_first=True
        )
        before = [*stored, *(c for c in made if c.against == champion)]
        traffic = self._predictions_per_day(window)
        money = _money(
            paired_windows(windows, MONEY_GAIN, champion, suspected),
            {**{c.start: c.predictions_per_day for c in before}, window.start: traffic},
            rule,
        )
        counts = paired_windows([window], gain_name(metric), champion, suspected)
        decided = next((c for c in before if c.verdict != "continue"), None)
        holds = found.windows <= rule.max_windows
        return Comparison(
            id=f"{model}/v{window.version}/comparison/v{champion}/{window.start.isoformat().replace('+00:00', 'Z')}",
            created_at=self._clock.now(),
            model=model,
            version=window.version,
            against=champion,
            window=window.id,
            start=window.start,
            end=window.end,
            metric=metric,
            gain=counts[0].metrics[gain_name(metric)] if counts else None,
            mean=_finite(found.mean),
            low=_finite(found.lower) if holds else None,
            high=_finite(found.upper) if holds else None,
            windows=found.windows,
            held_out=found.held_out,
            labels=found.labels,
            predictions_per_day=traffic,
            money_per_day=money[0],
            money_per_day_low=money[1],
            money_per_day_high=money[2],
            verdict=decided.verdict if decided else found.verdict,
            reason=decided.reason if decided else found.reason,
        )

    def _was_champion(self, window: WindowReport) -> bool:
        """Return True if the version of a window was champion before it."""
        earlier = Between(None, window.start)
        where = {"model": window.model, "version": window.version, "role": "champion"}
        return self._metadata.count(WindowReport, start=earlier, **where) > 0

    def _held_out(
        self, window: WindowReport, champion: int, policy: Policy, metric: str, suspected: Sequence[Stretch]
    ) -> list[float]:
        """Return the gains in windows before the comparison that neither version was trained on."""
        try:
            versions = (window.version, champion)
            challenger, other = (self._metadata.get(Bundle, f"{window.model}/{version}") for version in versions)
        except NotFound:
            return []
        before = held_out_evidence(self._metadata, challenger, other, window=policy.decide.window, suspected=suspected)
        return [w.gains[metric] for w in before if metric in w.gains]

    def _predictions_per_day(self, window: WindowReport) -> float:
        """Return the model's traffic in a window: the rows of all versions whose score was sent to the client."""
        within = Between(window.start, window.end)
        closed = self._metadata.find(WindowReport, model=window.model, stage="closed", start=within)
        return sum(w.served_rows for w in closed) / ((window.end - window.start) / timedelta(days=1))


def _money(
    windows: Sequence[WindowReport], traffic: Mapping[datetime, float], rule: PromoteWhen
) -> tuple[float | None, float | None, float | None]:
    """Return mean, lower and upper bound of the money a day that a version saves, if it answered all requests."""
    gains = [w.metrics[MONEY_GAIN] * traffic[w.start] for w in windows if w.start in traffic]
    if not gains:
        return None, None, None
    found = compare(
        gains,
        confidence=rule.confidence,
        min_windows=rule.min_windows,
        min_live_windows=rule.min_live_windows,
        max_windows=rule.max_windows,
    )
    if len(gains) > rule.max_windows:
        return found.mean, None, None
    return found.mean, _finite(found.lower), _finite(found.upper)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
