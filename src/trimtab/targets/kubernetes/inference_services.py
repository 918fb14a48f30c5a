"""KServe: a ServingRuntime with the image of the gateway, and an InferenceService for each model, without Knative.

The gateway serves the folder that KServe mounts at /mnt/models, a bundle or a model of MLflow, over the Open Inference
Protocol. Shares between champion and challenger: in Standard mode, which needs no Knative, two InferenceServices behind
an HTTPRoute; with Knative, `canaryTrafficPercent`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from trimtab.errors import PolicyError
from trimtab.targets.docker.dockerfiles import CONTAINER, GRPC_PORT, PORT
from trimtab.targets.filled_templates import filled
from trimtab.targets.kept_regions import region
from trimtab.targets.kubernetes.chart_values import plain
from trimtab.targets.kubernetes.deployment_facts import KEY, WHERE, Cluster
from trimtab.targets.yaml_text import yaml_file

TARGET = "kubernetes"
FORMAT = "trimtab"
MODE = {"serving.kserve.io/deploymentMode": "RawDeployment"}
"""Named Standard since KServe 0.16, which takes this name, too."""


def files(cluster: Cluster) -> dict[str, str]:
    """Return the files by path. Raises PolicyError for two models that KServe cannot tell apart."""
    names: dict[str, str] = {}
    for model in cluster.facts.definitions.models:
        name = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:40].strip("-")
        if name in names.values():
            raise PolicyError(f"{WHERE}: {KEY}: models '{model}' and another one have the same name in KServe: {name}")
        names[model] = name
    services = [_service(cluster, model, name) for model, name in names.items()]
    challengers = [_service(cluster, model, name, challenger=True) for model, name in names.items()]
    routes = [_route(cluster, name) for name in names.values()]
    canary = ("A challenger beside the champion, and the shares of rollout.split between them, without Knative.",)
    found = {
        "kserve/serving-runtime.yaml": yaml_file(TARGET, runtime(cluster)) + region("runtime"),
        "kserve/inference-services.yaml": yaml_file(TARGET, *services),
        "kserve/challengers.yaml": yaml_file(TARGET, *challengers, *routes, notes=canary),
    }
    if cluster.asked.models is None:
        workload = f"{cluster.facts.slug}-{'loop' if cluster.apart else 'gateway'}"
        models = json.dumps([*names])
        found["kserve/copy_models.py"] = filled("kserve_copy_models", MODELS=models, WORKLOAD=workload)
    return found


def runtime(cluster: Cluster) -> dict[str, Any]:
    """Return the ServingRuntime."""
    asked, serving = cluster.asked, cluster.policy.serving
    probe = {"httpGet": {"path": "/v2/health/ready", "port": PORT}, "periodSeconds": 2, "failureThreshold": 150}
    memory = f"{-(-asked.memory // 2**20)}Mi"
    ports: list[dict[str, Any]] = [{"name": "http1", "containerPort": PORT, "protocol": "TCP"}]
    grpc = []
    if serving.grpc_port is not None:
        ports.append({"name": "h2c", "containerPort": GRPC_PORT, "protocol": "TCP"})
        grpc = ["--grpc-port", str(GRPC_PORT)]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": f"{cluster.facts.slug}-{FORMAT}"},
        "spec": {
            "annotations": {"prometheus.kserve.io/port": str(PORT), "prometheus.kserve.io/path": "/metrics"},
            "supportedModelFormats": [
                {"name": FORMAT, "version": "1", "autoSelect": True, "priority": 1},
                {"name": "mlflow", "version": "2"},
            ],
            "protocolVersions": ["v2", "v1", *(["grpc-v2"] if grpc else [])],
            "containers": [
                {
                    "name": "kserve-container",
                    "image": plain(cluster.image("gateway")),
                    "args": ["serve", "/mnt/models", "--port", str(PORT), *grpc],
                    "env": [{"name": CONTAINER, "value": "kserve"}, {"name": "TRIMTAB_LOG_FORMAT", "value": "json"}],
                    "ports": ports,
                    "readinessProbe": probe,
                    "resources": {"requests": {"cpu": asked.cpu, "memory": memory}, "limits": {"memory": memory}},
                    "securityContext": {
                        "runAsNonRoot": True,
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                }
            ],
        },
    }


def _service(cluster: Cluster, model: str, name: str, *, challenger: bool = False) -> dict[str, Any]:
    asked, share = cluster.asked, cluster.policy.rollout.split.get("challenger", 0.0)
    folder = asked.models or f"pvc://{cluster.facts.slug}-state/state/models"
    metadata = {
        "name": f"{name}-challenger" if challenger else name,
        "labels": {"app.kubernetes.io/name": cluster.facts.slug, "trimtab.dev/model": name},
        "annotations": MODE,
    }
    predictor: dict[str, Any] = {
        "minReplicas": asked.replicas.min,
        "maxReplicas": asked.replicas.max,
        "model": {
            "modelFormat": {"name": FORMAT},
            "runtime": f"{cluster.facts.slug}-{FORMAT}",
            "protocolVersion": "v2",
            "storageUri": f"{folder}/{model}{'/challenger' if challenger else '/champion'}",
        },
    }
    if not challenger and cluster.policy.rollout.strategy in ("canary", "champion-challenger"):
        predictor = {"canaryTrafficPercent": round(share), **predictor}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": predictor},
    }


def _route(cluster: Cluster, name: str) -> dict[str, Any]:
    """Return an HTTPRoute that divides the requests of a model. Weights are whole numbers: thousandths of a share."""
    split = cluster.policy.rollout.split
    asked = cluster.asked.ingress
    shares = (
        (f"{name}-predictor", split.get("champion", 100.0)),
        (f"{name}-challenger-predictor", split.get("challenger", 0.0)),
    )
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": f"{name}-split"},
        "spec": {
            "parentRefs": [{"name": (asked.gateway if asked is not None else None) or "gateway"}],
            "hostnames": [f"{name}.{asked.host if asked is not None else f'{cluster.facts.slug}.example.com'}"],
            "rules": [
                {
                    "backendRefs": [
                        {"name": service, "port": 80, "weight": round(share * 10)} for service, share in shares
                    ]
                }
            ],
        },
    }
