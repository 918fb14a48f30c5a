"""A DAG for Apache Airflow 3 that runs the stages of each model. Pure."""

from __future__ import annotations

import json

from trimtab.policy.model import Policy
from trimtab.targets.filled_templates import filled
from trimtab.targets.pipeline_stages import OF_MODEL, OF_PROJECT, crons, period, shared_fields
from trimtab.targets.pipelines.stage_list import pipeline_of
from trimtab.targets.project_facts import Facts

FOLDER = "deploy/airflow"
UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
TIMETABLE = "MultipleCronTriggerTimetable"


def files(facts: Facts) -> dict[str, str]:
    """Return the text of the DAG by its path in the project.

    Raises DefinitionError without a model that is trained, PolicyError for environments and schedules that do not fit.
    """
    schedule = _schedule(facts.policy)
    text = filled(
        "airflow_dag",
        **shared_fields(facts),
        MODELS=json.dumps(pipeline_of(facts).models),
        OF_PROJECT=json.dumps(OF_PROJECT),
        OF_MODEL=json.dumps(OF_MODEL),
        SCHEDULE=schedule,
        TIMETABLE=f"{TIMETABLE}, " if TIMETABLE in schedule else "",
        TIMEOUT=_timedelta(facts.policy.retrain.timeout),
    )
    return {f"{FOLDER}/{facts.slug.replace('-', '_')}_dag.py": text}


def _schedule(policy: Policy) -> str:
    if policy.retrain.refresh is not None:
        return _timedelta(policy.retrain.refresh.every)
    found = crons(policy)
    if found is None:
        return "None"
    return f"{TIMETABLE}({', '.join(map(json.dumps, found.expressions))}, timezone={json.dumps(found.timezone)})"


def _timedelta(micros: int | None) -> str:
    if micros is None:
        return "None"
    count, unit = period(micros)
    return f"timedelta({UNITS[unit]}={count})"
