"""A pipeline of Kubeflow Pipelines 2 whose components run the verbs of the stages. Pure.

`python deploy/kubeflow/pipeline.py` compiles it with kfp; the text depends on the policy alone.
"""

from __future__ import annotations

import json

from trimtab.targets.clouds.cloud_places import models_of
from trimtab.targets.docker.dockerfiles import data_folders
from trimtab.targets.filled_templates import filled
from trimtab.targets.project_facts import Facts

PIPELINE = "deploy/kubeflow/pipeline.py"


def files(facts: Facts) -> dict[str, str]:
    """Return the text of each file by its path in the project. Raises DefinitionError without a model."""
    models = [model.name for model in models_of(facts, "kubeflow")]
    training = facts.policy.training
    folders = {".trimtab": "state", **{name: name for name in data_folders(facts)}}
    mounts = {"": ""} if training.claim else folders  # a claim of its own holds the whole project folder
    text = filled(
        "kubeflow_pipeline",
        PROJECT=facts.policy.project,
        SLUG=facts.slug,
        IMAGE=facts.image,
        CLAIM=training.claim or f"{facts.slug}-state",
        MOUNTS=_literal(mounts),
        SECRET=facts.policy.deploy.kubernetes.secret or f"{facts.slug}-secrets",
        SECRETS=_literal(facts.secrets),
        MODELS=_literal(models),
        MEMORY="None" if training.memory is None else f'"{-(-training.memory // 10**6)}M"',
        ENVIRONMENT="production" if "production" in facts.policy.environments else "local",
    )
    return {PIPELINE: text}


def _literal(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
