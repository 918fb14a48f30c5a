"""A DAG for Apache Airflow 3 that runs the stages of each model. Pure."""

from __future__ import annotations

import json

from trimtab.targets.filled_templates import filled
from trimtab.targets.pipeline_stages import OF_MODEL, OF_PROJECT, period, trained_models
from trimtab.targets.project_facts import Facts
from trimtab.units import MICROS

FOLDER = "deploy/airflow"
UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def files(facts: Facts) -> dict[str, str]:
    """Return the text of the DAG by its path in the project. Raises DefinitionError without a model that is trained."""
    policy = facts.policy
    refresh, timeout = policy.retrain.refresh, policy.retrain.timeout
    text = filled(
        "airflow_dag",
        PROJECT=facts.slug,
        ENVIRONMENT="local",
        NAME=json.dumps(facts.slug),
        APPROVALS="",
        MODELS=json.dumps(trained_models(facts)),
        OF_PROJECT=json.dumps(OF_PROJECT),
        OF_MODEL=json.dumps(OF_MODEL),
        SCHEDULE=_timedelta(None if refresh is None else refresh.every),
        TIMEOUT=_timedelta(timeout),
        RETRIES=str(policy.retrain.retries),
        BACKOFF=f"{policy.retrain.backoff / MICROS['s']:g}",
        COMMAND=filled("run_trimtab"),
    )
    return {f"{FOLDER}/{facts.slug.replace('-', '_')}_dag.py": text}


def _timedelta(micros: int | None) -> str:
    if micros is None:
        return "None"
    count, unit = period(micros)
    return f"timedelta({UNITS[unit]}={count})"
