"""Files for Vertex AI: models, endpoints with a traffic split, a pipeline, and deploy.py. Pure.

The JSON files are messages of its API: Model, Endpoint, DeployedModel. `${...}` stands for what deploy.py puts in.
"""

from __future__ import annotations

import json
import re
from typing import Any

from trimtab.definitions.models import Model
from trimtab.targets.clouds.cloud_places import TAG, GcpPlace, channel_sources, gcp_place, models_of, resource_name
from trimtab.targets.filled_templates import filled
from trimtab.targets.project_facts import Facts

FOLDER = "deploy/vertex"
TARGET = "vertex"
LONGEST_NAME = 63
"""Of a model's id."""
CPU_GB = {"highmem": 6.5, "highcpu": 0.9}
"""Memory for each CPU by the kind of machine, in GB: the least of the families; that of other kinds is 3.75."""


def files(facts: Facts) -> dict[str, str]:
    """Return the text of each file by its path in the project.

    Raises PolicyError without deploy.gcp.project and deploy.gcp.region and for names that are too long; DefinitionError
    without a model.
    """
    place = gcp_place(facts, TARGET)
    models = models_of(facts, TARGET)
    names = {model.name: resource_name(facts, model.name, longest=LONGEST_NAME) for model in models}
    settings = {
        "project": place.project,
        "region": place.region,
        "bucket": place.bucket,
        "service_account": place.service_account,
        "models": names,
    }
    found: dict[str, Any] = {"settings.json": settings}
    for model in models:
        found[f"{model.name}/model.json"] = model_message(facts, place, names[model.name])
        found[f"{model.name}/endpoint.json"] = {"displayName": names[model.name], "labels": _labels(facts)}
        found[f"{model.name}/deployed-model.json"] = deployed_model(facts, place)
    texts = {f"{FOLDER}/{name}": json.dumps(value, indent=2) + "\n" for name, value in found.items()}
    return {
        f"{FOLDER}/deploy.py": filled("vertex_deploy", PROJECT=facts.policy.project),
        f"{FOLDER}/pipeline.py": _pipeline(facts, place, models),
        **texts,
    }


def model_message(facts: Facts, place: GcpPlace, name: str) -> dict[str, Any]:
    """Return a Model: the gateway's image, and the bundle in the bucket, which the gateway copies at its start."""
    return {
        "displayName": name,
        "artifactUri": "${ARTIFACTS}",
        "containerSpec": {
            "imageUri": f"{place.registry}-gateway:{TAG}",
            "command": ["trimtab"],
            "args": ["serve"],
            "ports": [{"containerPort": 8080}],
            "predictRoute": "/predict",
            "healthRoute": "/health",
        },
        "labels": _labels(facts),
    }


def deployed_model(facts: Facts, place: GcpPlace) -> dict[str, Any]:
    """Return a DeployedModel: the machines of one version on an endpoint."""
    gcp = facts.policy.deploy.gcp
    return {
        "dedicatedResources": {
            "machineSpec": {"machineType": gcp.endpoint_machine},
            "minReplicaCount": gcp.endpoint_replicas,
            "maxReplicaCount": gcp.endpoint_max_replicas or gcp.endpoint_replicas,
        },
        "serviceAccount": place.service_account,
    }


def _pipeline(facts: Facts, place: GcpPlace, models: list[Model]) -> str:
    machine = facts.policy.deploy.gcp.training_machine
    kind, cpus = machine.split("-")[1], int(re.findall(r"\d+", machine)[-1])
    sources = {model.name: [each.name for each in channel_sources(facts, model)] for model in models}
    return filled(
        "vertex_pipeline",
        PROJECT=facts.policy.project,
        SLUG=facts.slug,
        IMAGE=place.registry,
        BUCKET=place.bucket,
        SOURCES=json.dumps(sources),
        CPUS=str(cpus),
        MEMORY=f"{CPU_GB.get(kind, 3.75) * cpus:g}G",
    )


def _labels(facts: Facts) -> dict[str, str]:
    return {"trimtab-project": facts.slug[:63]}
