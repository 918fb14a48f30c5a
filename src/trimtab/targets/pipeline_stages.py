"""What the files for orchestrators share: the stages of a retraining in their order, when it runs, where models go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.errors import PolicyError
from trimtab.policy.model import Policy
from trimtab.targets.filled_templates import filled
from trimtab.targets.pipelines.stage_list import pipeline_of
from trimtab.targets.project_facts import Facts
from trimtab.units import MICROS

OF_PROJECT: Sequence[str] = ("ingest", "validate")
"""Verbs that run once."""
OF_MODEL: Sequence[str] = ("features", "train", "evaluate", "register", "deploy")
"""Verbs that run for each model, after those of the project."""


def shared_fields(facts: Facts) -> dict[str, str]:
    """Return the fields that the templates of all orchestrators have.

    Raises DefinitionError without a model that is trained, PolicyError for environments that are not there.
    """
    policy, environments = facts.policy, pipeline_of(facts).environments
    first = environments[0] if environments else "local"
    last = environments[1] if environments[1:] else None
    entry = None if last is None else policy.environments[last]
    return {
        "PROJECT": facts.slug,
        "NAME": json.dumps(facts.slug),
        "ENVIRONMENT": first,
        "PRODUCTION": "None" if last is None else json.dumps(last),
        "WAITS": str(entry is not None and (entry.approvals > 0 or entry.soak is not None)),
        "RETRIES": str(policy.retrain.retries),
        "BACKOFF": f"{policy.retrain.backoff / MICROS['s']:g}",
        "COMMAND": filled("run_trimtab"),
    }


def period(micros: int) -> tuple[int, str]:
    """Return a duration as a whole number of the largest of d, h, m, s that divides it; at least a second, rounded."""
    for unit in ("d", "h", "m"):
        if micros % MICROS[unit] == 0:
            return micros // MICROS[unit], unit
    return max(1, round(micros / MICROS["s"])), "s"


@dataclass(frozen=True)
class Crons:
    """Cron expressions that hold in one time zone."""

    expressions: Sequence[str]
    timezone: str


def crons(policy: Policy) -> Crons | None:
    """Return the times at which triggers of the policy retrain all models; None without one.

    Raises PolicyError for triggers of several time zones.
    """
    of = {
        name: rule
        for name, rule in policy.triggers.items()
        if rule.cron is not None and rule.run != "ingest" and rule.models is None
    }
    zones = {rule.timezone: name for name, rule in of.items()}
    if len(zones) > 1:
        places = " and ".join(f"triggers.{name}.timezone ({zone})" for zone, name in sorted(zones.items()))
        raise PolicyError(f"trimtab.yaml: {places} differ; a schedule of an orchestrator takes one time zone")
    return Crons([rule.cron for rule in of.values() if rule.cron is not None], next(iter(zones))) if of else None
