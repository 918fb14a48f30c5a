"""The files for Kubernetes: a chart, a base with overlays for Kustomize, an Application of Argo CD, KServe."""

from __future__ import annotations

import json
from typing import Any

from trimtab.policy.environments import LOCAL
from trimtab.targets.kept_regions import region
from trimtab.targets.kubernetes import inference_services
from trimtab.targets.kubernetes.chart_values import (
    Resource,
    plain,
    template,
    values_of,
    values_schema,
    values_table,
    values_yaml,
)
from trimtab.targets.kubernetes.deployment_facts import KEPT, Cluster, check
from trimtab.targets.kubernetes.gateway_traffic import traffic
from trimtab.targets.kubernetes.workloads import workloads
from trimtab.targets.project_facts import Facts
from trimtab.targets.yaml_text import header, yaml_file, yaml_text

FOLDER = "deploy/kubernetes"
TARGET = "kubernetes"
STAGES = ("staging", "production")
"""Overlays of a project that names no environments."""
_README = """\
<!-- Written by trimtab export kubernetes from trimtab.yaml; change that, and write it again. -->
# {project}

Gateway and loop of project {project}. The Secret `{secret}` with the variables that the policy names is yours to make.

```sh
helm install {slug} deploy/kubernetes/chart --namespace {namespace} --create-namespace --set image.tag=TAG
{first}
```

A release trains nothing. The second line makes the first model, once the sources have their rows.

{table}"""


def files(facts: Facts) -> dict[str, str]:
    """Return the files by path. Raises PolicyError for what a cluster cannot run as the policy says it."""
    cluster = Cluster(facts)
    check(cluster)
    resources = _resources(cluster)
    found = {**_chart(cluster, resources), **_base(cluster, resources)}
    named = [name for name in facts.policy.environments if name != LOCAL] or [*STAGES]
    for name in named:
        found |= _overlay(cluster, resources, name)
    if cluster.asked.repository is not None:
        found[f"{FOLDER}/argocd/application.yaml"] = yaml_file(TARGET, _application(cluster, cluster.asked.repository))
    return found | {f"{FOLDER}/{path}": text for path, text in inference_services.files(cluster).items()}


def resources_of(facts: Facts) -> list[dict[str, Any]]:
    """Return the objects of the base, which are those of the chart with its default values."""
    return [plain(each.content) for each in _resources(Cluster(facts)) if _is_there(each)]


def _resources(cluster: Cluster) -> list[Resource]:
    return [*workloads(cluster), *traffic(cluster)]


def _is_there(resource: Resource) -> bool:
    return resource.when is None or bool(resource.when.default)


def _chart(cluster: Cluster, resources: list[Resource]) -> dict[str, str]:
    facts, values = cluster.facts, values_of(resources)
    about = {
        "apiVersion": "v2",
        "name": facts.slug,
        "description": f"Gateway and loop of project {facts.policy.project}",
        "type": "application",
        "version": facts.version,
        "appVersion": facts.version,
        "kubeVersion": ">=1.27.0-0",
        "keywords": ["mlops", "trimtab"],
    }
    readme = _README.format(
        first=_first_model(cluster),
        namespace=cluster.namespace,
        project=facts.policy.project,
        secret=cluster.asked.secret or f"{facts.slug}-secrets",
        slug=facts.slug,
        table=values_table(values),
    )
    texts = {
        "Chart.yaml": yaml_file(TARGET, about),
        "values.yaml": header(TARGET, "Put values of yours into a file of your own: --values FILE.")
        + values_yaml(values),
        "values.schema.json": json.dumps(values_schema(values), indent=2, ensure_ascii=False) + "\n",
        "README.md": readme,
        ".helmignore": header(TARGET) + "README.md\n*.bak\n",
        **{f"templates/{each.file}.yaml": header(TARGET) + template(each) for each in resources},
    }
    return {f"{FOLDER}/chart/{path}": text for path, text in texts.items()}


def _first_model(cluster: Cluster) -> str:
    """Return the command that trains in the cluster: where the stores are in folders, in the pod of the gateway."""
    kubectl, slug = f"kubectl --namespace {cluster.namespace}", cluster.facts.slug
    if cluster.apart:
        return f"{kubectl} create job first --from=cronjob/{slug}-training"
    return f"{kubectl} exec deploy/{slug}-gateway --container loop -- trimtab run"


def _base(cluster: Cluster, resources: list[Resource]) -> dict[str, str]:
    there = [each for each in resources if _is_there(each)]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": cluster.namespace,
        "resources": [f"{each.file}.yaml" for each in there],
    }
    found = {f"{each.file}.yaml": yaml_file(TARGET, plain(each.content)) for each in there}
    found["kustomization.yaml"] = yaml_file(TARGET, kustomization) + region("kustomization")
    return {f"{FOLDER}/base/{path}": text for path, text in found.items()}


def _overlay(cluster: Cluster, base: list[Resource], name: str) -> dict[str, str]:
    """Return an overlay: a namespace of its own, the objects of its environment, the tag of the images."""
    facts = cluster.facts
    own = _resources(Cluster(facts, name if name in facts.policy.environments else cluster.environment))
    parts, namespace = ("gateway", "loop", "training"), cluster.namespace_of(name)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": ["../../base", "namespace.yaml"],
        "patches": _patches(base, own),
    }
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    space = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace, "labels": labels, "annotations": KEPT},
    }
    images = {"images": [{"name": f"{facts.image}-{part}", "newTag": facts.version} for part in parts]}
    note = "The tags at the end are yours, an entry for each image of deploy.image."
    texts = {
        "kustomization.yaml": yaml_file(TARGET, kustomization, notes=[note])
        + region("images", text=yaml_text(images))
        + region("kustomization"),
        "namespace.yaml": yaml_file(TARGET, space),
    }
    return {f"{FOLDER}/overlays/{name}/{path}": text for path, text in texts.items()}


def _patches(base: list[Resource], own: list[Resource]) -> list[dict[str, Any]]:
    """Return patches that make the objects of the base those of an environment."""
    wanted = {each.file: plain(each.content) for each in own if _is_there(each)}
    found = []
    for each in base:
        if not _is_there(each):
            continue
        made, ours = plain(each.content), wanted[each.file]
        target = {"kind": made["kind"], "name": made["metadata"]["name"]}
        changes = [{"op": "replace", "path": f"/{key}", "value": ours[key]} for key in ours if ours[key] != made[key]]
        if changes:
            found.append({"target": target, "patch": json.dumps(changes)})
    return found


def _application(cluster: Cluster, repository: str) -> dict[str, Any]:
    """Return an Application of Argo CD that keeps the cluster as the production overlay says."""
    facts = cluster.facts
    named = [name for name in facts.policy.environments if name != LOCAL] or [*STAGES]
    overlay = "production" if "production" in named else named[-1]
    path = f"{FOLDER}/overlays/{overlay}"
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {
            "name": facts.slug,
            "namespace": "argocd",
            "finalizers": ["resources-finalizer.argocd.argoproj.io"],
        },
        "spec": {
            "project": "default",
            "source": {
                "repoURL": repository,
                "targetRevision": "HEAD",
                "path": f"{facts.subfolder}/{path}" if facts.subfolder else path,
            },
            "destination": {
                "server": "https://kubernetes.default.svc",
                "namespace": cluster.namespace_of(overlay),
            },
            "syncPolicy": {
                "automated": {"prune": False, "selfHeal": True},
                "syncOptions": ["CreateNamespace=false", "ServerSideApply=true"],
                "retry": {"limit": 5, "backoff": {"duration": "10s", "factor": 2, "maxDuration": "3m"}},
            },
        },
    }
