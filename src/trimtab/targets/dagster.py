"""Definitions for Dagster: tables, training sets, runs, bundles, revisions as assets, and gates as checks. Pure."""

from __future__ import annotations

import json

from trimtab.errors import PolicyError
from trimtab.policy.gates import Custom
from trimtab.policy.model import Policy
from trimtab.targets.filled_templates import filled
from trimtab.targets.pipeline_stages import period, trained_models
from trimtab.targets.project_facts import Facts
from trimtab.units import MICROS, short

FILE = "deploy/dagster/definitions.py"
CRONS = {"d": ("days", "0 3 * * *"), "h": ("hours", "0 * * * *"), "m": ("minutes", "* * * * *")}
"""Unit of time -> its word, and the schedule that ticks once in it."""


def files(facts: Facts) -> dict[str, str]:
    """Return the text of the definitions by its path in the project.

    Raises DefinitionError without a model that is trained, PolicyError for a refresh that no schedule can give.
    """
    policy, models = facts.policy, facts.definitions.models
    text = filled(
        "dagster_definitions",
        PROJECT=facts.slug,
        ENVIRONMENT="local",
        NAME=json.dumps(facts.slug),
        GROUP=json.dumps(facts.slug.replace("-", "_")),
        SOURCES=json.dumps(list(facts.definitions.sources)),
        MODELS=json.dumps({name: models[name].source_tables for name in trained_models(facts)}),
        GATES=json.dumps([name for name in policy.gates.sections() if name != Custom.GATE or facts.definitions.gates]),
        RETRIES=str(policy.retrain.retries),
        BACKOFF=f"{policy.retrain.backoff / MICROS['s']:g}",
        COMMAND=filled("run_trimtab"),
        SCHEDULE=_schedule(policy),
    )
    return {FILE: text}


def _schedule(policy: Policy) -> str:
    refresh = policy.retrain.refresh
    if refresh is None:
        return ""
    count, unit = period(refresh.every)
    if unit not in CRONS:
        raise PolicyError(
            f"trimtab.yaml: retrain.refresh.every: {short(refresh.every)}: Dagster schedules by the minute; expected "
            "whole minutes, such as 30m, 6h or 7d"
        )
    word, cron = CRONS[unit]
    values = {"TICK": str(MICROS[unit] // MICROS["s"]), "EVERY": str(count), "UNIT": word, "CRON": json.dumps(cron)}
    return filled("dagster_schedule", **values)
