"""Definitions for Dagster: tables, training sets, runs, bundles, revisions as assets, and gates as checks. Pure."""

from __future__ import annotations

import json

from trimtab.errors import PolicyError
from trimtab.policy.gates import Custom
from trimtab.policy.model import Policy
from trimtab.targets.filled_templates import filled
from trimtab.targets.pipeline_stages import crons, period, shared_fields
from trimtab.targets.pipelines.stage_list import pipeline_of
from trimtab.targets.project_facts import Facts
from trimtab.units import MICROS, short

FILE = "deploy/dagster/definitions.py"
CRONS = {"d": ("days", "0 3 * * *"), "h": ("hours", "0 * * * *"), "m": ("minutes", "* * * * *")}
"""Unit of time -> its word, and the schedule that ticks once in it."""


def files(facts: Facts) -> dict[str, str]:
    """Return the text of the definitions by its path in the project.

    Raises DefinitionError without a model that is trained, PolicyError for environments and schedules that do not fit.
    """
    policy, models = facts.policy, facts.definitions.models
    text = filled(
        "dagster_definitions",
        **shared_fields(facts),
        GROUP=json.dumps(facts.slug.replace("-", "_")),
        SOURCES=json.dumps(list(facts.definitions.sources)),
        MODELS=json.dumps({name: models[name].source_tables for name in pipeline_of(facts).models}),
        GATES=json.dumps([name for name in policy.gates.sections() if name != Custom.GATE or facts.definitions.gates]),
        SCHEDULE=_schedule(policy),
    )
    return {FILE: text}


def _schedule(policy: Policy) -> str:
    refresh = policy.retrain.refresh
    if refresh is None:
        found = crons(policy)
        if found is None:
            return ""
        values = {"CRONS": json.dumps(found.expressions), "TIMEZONE": json.dumps(found.timezone)}
        return filled("dagster_crons", **values)
    count, unit = period(refresh.every)
    if unit not in CRONS:
        raise PolicyError(
            f"trimtab.yaml: retrain.refresh.every: {short(refresh.every)}: Dagster schedules by the minute; expected "
            "whole minutes, such as 30m, 6h or 7d"
        )
    word, cron = CRONS[unit]
    values = {"TICK": str(MICROS[unit] // MICROS["s"]), "EVERY": str(count), "UNIT": word, "CRON": json.dumps(cron)}
    return filled("dagster_schedule", **values)
