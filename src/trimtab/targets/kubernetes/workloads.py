"""Pods of a project: gateway and loop; trainings and the ingestion by a schedule, where machines share the stores."""

from __future__ import annotations

import posixpath
from typing import Any

from trimtab.policy.environments import folder_of
from trimtab.targets.docker.dockerfiles import (
    CONTAINER,
    GRPC_PORT,
    HOME,
    PORT,
    STATE,
    USER,
    Part,
    arguments,
    data_folders,
    pulse_check,
    tls_files,
)
from trimtab.targets.kubernetes.chart_values import Digest, Resource, Value
from trimtab.targets.kubernetes.deployment_facts import KEPT, LIST, OBJECT, OPTIONAL, QUANTITY, TEXT, Cluster
from trimtab.units import MICROS

LEAVES_S = 5
"""Seconds for which a stopping pod goes on serving, until load balancers have taken it out; `serving.drain_delay` takes
its place."""
SPARE_S = 10
STARTS_S = 300
KEPT_S = 24 * 3600
"""Seconds for which an ended Job is kept."""
REFUSED = {
    "rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 2]}}],
}
"""A refused gate and a wrong policy are the same the next time, so they are not tried again."""


def workloads(cluster: Cluster) -> list[Resource]:
    """Return Deployments, Jobs, and what their pods mount."""
    policy = policy_value(cluster)
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": cluster.metadata(),
        "automountServiceAccountToken": False,
    }
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": cluster.metadata("policy"),
        "data": {"trimtab.yaml": policy},
    }
    environment = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": cluster.metadata("environment"),
        "data": {
            "TRIMTAB_ENV": Value("environment", cluster.environment, ENVIRONMENT, {"enum": cluster.alike}),
            "TRIMTAB_LOG_FORMAT": "json",
        },
    }
    found = [
        Resource("service-account", account),
        Resource("config-map-policy", config),
        Resource("config-map-environment", environment),
        Resource("volume-claim", _claim(cluster)),
        Resource("deployment-gateway", _gateway(cluster)),
    ]
    if cluster.apart:
        found.append(
            Resource("deployment-loop", _deployment(cluster, "loop", [_loop(cluster)], shares_processes=False))
        )
        found.append(Resource("cron-job-training", _training(cluster)))
    if cluster.asked.ingest is not None:
        found.append(Resource("cron-job-ingest", _ingest(cluster, cluster.asked.ingest)))
    return found


ENVIRONMENT = "Entry of `environments` in the policy, among those with the same `serving`."


def policy_value(cluster: Cluster) -> Value:
    """Return trimtab.yaml as a value of the chart."""
    return Value("policy", cluster.facts.policy_text, "The text of trimtab.yaml.", TEXT)


def _claim(cluster: Cluster) -> dict[str, Any]:
    storage = cluster.asked.storage
    access = storage.access or ("ReadWriteMany" if cluster.apart else "ReadWriteOnce")
    about = "Access mode of the volume; pods on several machines need ReadWriteMany."
    modes = {"enum": ["ReadWriteOnce", "ReadWriteMany"]}
    size = f"{-(-storage.size // 2**20)}Mi"
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": cluster.metadata("state", annotations={"helm.sh/resource-policy": "keep", **KEPT}),
        "spec": {
            "accessModes": [Value("storage.accessMode", access, about, modes)],
            "resources": {"requests": {"storage": Value("storage.size", size, "Size of the volume.", QUANTITY)}},
            "storageClassName": Value(
                "storage.className", storage.storage_class, "Its storage class; null, the cluster's default.", OPTIONAL
            ),
        },
    }


def _gateway(cluster: Cluster) -> dict[str, Any]:
    containers = [_serving(cluster)] if cluster.apart else [_serving(cluster), _loop(cluster)]
    return _deployment(cluster, "gateway", containers, shares_processes=not cluster.apart)


def _deployment(
    cluster: Cluster, component: str, containers: list[dict[str, Any]], *, shares_processes: bool
) -> dict[str, Any]:
    several = cluster.apart and component == "gateway"
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    pod = _pod(cluster, component, containers, own_run=several)
    pod["spec"] |= {"terminationGracePeriodSeconds": _grace_s(cluster)}
    if shares_processes:
        pod["spec"] |= {"shareProcessNamespace": True}
    if several:
        pod["spec"] |= {"topologySpreadConstraints": [_spread(cluster, key) for key in ("zone", "hostname")]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": cluster.metadata(component, component),
        "spec": {
            **({} if several else {"replicas": 1}),
            "revisionHistoryLimit": 5,
            "strategy": rolling if several else {"type": "Recreate"},
            "selector": {"matchLabels": cluster.labels(component)},
            "template": pod,
        },
    }


def _pod(
    cluster: Cluster, component: str, containers: list[dict[str, Any]], *, own_run: bool = False
) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": "state", "persistentVolumeClaim": {"claimName": cluster.name("state")}},
        {"name": "policy", "configMap": {"name": cluster.name("policy")}},
        {
            "name": "tmp",
            "emptyDir": {"sizeLimit": Value("tmp.sizeLimit", "2Gi", "Size of /tmp in each pod.", QUANTITY)},
        },
    ]
    if own_run:
        volumes.append({"name": "own", "emptyDir": {}})
    claims = cluster.asked.volumes
    volumes += [{"name": f"volume-{each}"[:63], "persistentVolumeClaim": {"claimName": each}} for each in claims]
    if cluster.policy.serving.tls is not None:
        named = Value("tls.secretName", f"{cluster.facts.slug}-tls", "Secret with tls.crt, tls.key and ca.crt.", TEXT)
        volumes.append({"name": "tls", "secret": {"secretName": named, "defaultMode": 0o440}})
    pods = "of all pods, as Kubernetes has it."
    return {
        "metadata": {
            "labels": cluster.labels(component),
            "annotations": {"checksum/policy": Digest(policy_value(cluster))},
        },
        "spec": {
            "serviceAccountName": cluster.name(),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "imagePullSecrets": Value("imagePullSecrets", [], "Secrets of the registry.", LIST),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "nodeSelector": Value("nodeSelector", {}, f"Node selector {pods}", OBJECT),
            "tolerations": Value("tolerations", [], f"Tolerations {pods}", LIST),
            "containers": containers,
            "volumes": volumes,
        },
    }


def _container(cluster: Cluster, part: Part, words: list[str], *, own_run: bool = False) -> dict[str, Any]:
    policy = Value("image.pullPolicy", "IfNotPresent", "When images are pulled.", {"enum": ["Always", "IfNotPresent"]})
    secret = Value(
        "secretName",
        cluster.asked.secret or f"{cluster.facts.slug}-secrets",
        "Secret with the variables that policy and definitions name; it is not part of the chart.",
        TEXT,
    )
    variables: list[dict[str, Any]] = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}} for name in cluster.facts.secrets
    ]
    if part == "gateway" and cluster.policy.serving.authentication == "none":
        variables.append({"name": CONTAINER, "value": "kubernetes"})
    mounts = [
        {"name": "state", "mountPath": STATE, "subPath": "state"},
        {"name": "policy", "mountPath": f"{HOME}/trimtab.yaml", "subPath": "trimtab.yaml", "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        *({"name": "state", "mountPath": f"{HOME}/{name}", "subPath": name} for name in data_folders(cluster.facts)),
    ]
    mounts += [{"name": f"volume-{each}"[:63], "mountPath": path} for each, path in cluster.asked.volumes.items()]
    if own_run:
        environments = cluster.facts.policy.environments.items()
        places = [f"{folder_of(name, each)}/{kind}" for name, each in environments for kind in ("run", "online")]
        mounts += [
            {"name": "own", "mountPath": posixpath.join(HOME, place), "subPath": place.strip("/")} for place in places
        ]
    if part == "gateway":
        mounts += [
            {"name": "tls", "mountPath": posixpath.join(HOME, path), "subPath": key, "readOnly": True}
            for key, path in tls_files(cluster.policy).items()
        ]
    return {
        "name": part,
        "image": cluster.image(part),
        "imagePullPolicy": policy,
        "args": words,
        "envFrom": [{"configMapRef": {"name": cluster.name("environment")}}],
        "env": variables,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def _resources(part: str, cpu: str, memory: int) -> dict[str, Any]:
    """Return requests and limits. There is no limit of cores, which would slow answers down on an idle machine."""
    size = Value(
        f"{part}.memory", f"{-(-memory // 2**20)}Mi", f"Memory of the {part}: asked for, and the limit.", QUANTITY
    )
    cores = Value(f"{part}.cpu", cpu, f"Cores that the {part} asks for.", QUANTITY)
    return {"requests": {"cpu": cores, "memory": size}, "limits": {"memory": size}}


def _serving(cluster: Cluster) -> dict[str, Any]:
    policy, asked = cluster.policy, cluster.asked
    ports = [{"name": "http", "containerPort": PORT}]
    if policy.serving.grpc_port is not None:
        ports.append({"name": "grpc", "containerPort": GRPC_PORT})
    live, ready = _probe(cluster, "/v2/health/live"), _probe(cluster, "/v2/health/ready")
    found = {
        **_container(cluster, "gateway", arguments(policy, "gateway"), own_run=cluster.apart),
        "ports": ports,
        "resources": _resources("gateway", asked.cpu, asked.memory),
        "startupProbe": {**live, "periodSeconds": 1, "failureThreshold": STARTS_S},
        "livenessProbe": {**live, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
        "readinessProbe": {**ready, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2},
    }
    if policy.serving.drain_delay is None:
        found["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", str(LEAVES_S)]}}}
    return found


def _probe(cluster: Cluster, path: str) -> dict[str, Any]:
    tls = cluster.policy.serving.tls
    if tls is not None and tls.client_ca is not None:  # the kubelet has no certificate to show
        return {"tcpSocket": {"port": "http"}}
    return {"httpGet": {"path": path, "port": "http", **({} if tls is None else {"scheme": "HTTPS"})}}


def _loop(cluster: Cluster) -> dict[str, Any]:
    check = {"exec": {"command": pulse_check(cluster.facts.policy)}}
    return {
        **_container(cluster, "loop", arguments(cluster.policy, "loop")),
        "resources": _resources("loop", cluster.asked.loop_cpu, cluster.asked.loop_memory),
        "startupProbe": {**check, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": STARTS_S // 10},
        "livenessProbe": {**check, "periodSeconds": 60, "timeoutSeconds": 10, "failureThreshold": 3},
    }


def _training(cluster: Cluster) -> dict[str, Any]:
    """Return a CronJob that no schedule starts: Jobs are made from it, each with a name of its own."""
    job = _job(cluster, "training", arguments(cluster.policy, "training"), cluster.policy.training.memory)
    return _cron_job(cluster, "training", job, {"schedule": "0 0 1 1 *", "suspend": True})


def _ingest(cluster: Cluster, schedule: str) -> dict[str, Any]:
    when = Value("ingest.schedule", schedule, "When new rows are taken in, in cron's form.", TEXT)
    return _cron_job(cluster, "ingest", _job(cluster, "ingest", ["ingest"]), {"schedule": when})


def _cron_job(cluster: Cluster, component: str, job: dict[str, Any], times: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": cluster.metadata(component, component),
        "spec": {
            **times,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 600,
            "jobTemplate": {"spec": job},
        },
    }


def _job(cluster: Cluster, component: str, words: list[str], memory: int | None = None) -> dict[str, Any]:
    container = {
        **_container(cluster, "training", words, own_run=True),
        "name": component,
        "resources": _resources(component, cluster.asked.loop_cpu, memory or cluster.asked.loop_memory),
    }
    pod = _pod(cluster, component, [container], own_run=True)
    pod["spec"] |= {"restartPolicy": "Never"}
    return {"backoffLimit": 2, "ttlSecondsAfterFinished": KEPT_S, "podFailurePolicy": REFUSED, "template": pod}


def _spread(cluster: Cluster, key: str) -> dict[str, Any]:
    label = "topology.kubernetes.io/zone" if key == "zone" else "kubernetes.io/hostname"
    return {
        "maxSkew": 1,
        "topologyKey": label,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": cluster.labels("gateway")},
    }


def _grace_s(cluster: Cluster) -> int:
    serving = cluster.policy.serving
    leaves = LEAVES_S * MICROS["s"] if serving.drain_delay is None else serving.drain_delay
    return -(-(leaves + serving.drain) // MICROS["s"]) + SPARE_S
