"""What the manifests of a project depend on: where its stores are, which secrets it names, which values a chart has.

Stores in folders need one machine and one view of its processes, since LMDB and the locks go by process ids; so gateway
and loop are then two containers of one pod. With the records in PostgreSQL, the log in Kafka and models without feature
views, gateways are pods of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trimtab.definitions.push_source import PushSource
from trimtab.errors import PolicyError
from trimtab.policy.deploy.section_kubernetes import Kubernetes
from trimtab.policy.environments import LOCAL, ROOT, Environment
from trimtab.policy.model import Policy
from trimtab.targets.docker.dockerfiles import check_folders, lies_in
from trimtab.targets.kubernetes.chart_values import BuiltIn, Either, Joined, Value
from trimtab.targets.project_facts import Facts

_PASSWORD = re.compile(r"://[^/@\s:]*:(?!\$\{)[^/@\s]+@")
STORES = ("folder", "tables", "online", "artifacts", "predictions")
KEY = "deploy.kubernetes"
WHERE = "trimtab.yaml"

KEPT = {"argocd.argoproj.io/sync-options": "Prune=false,Delete=false"}
"""What Argo CD leaves in the cluster when the Application is deleted."""
TEXT: Mapping[str, Any] = {"type": "string"}
NUMBER: Mapping[str, Any] = {"type": "integer", "minimum": 1}
FLAG: Mapping[str, Any] = {"type": "boolean"}
LIST: Mapping[str, Any] = {"type": "array"}
OBJECT: Mapping[str, Any] = {"type": "object"}
OPTIONAL: Mapping[str, Any] = {"type": ["string", "null"]}
QUANTITY: Mapping[str, Any] = {"type": ["string", "number"], "pattern": r"^\d+(\.\d+)?(m|[KMGTP]i?)?$"}


@dataclass(frozen=True)
class Cluster:
    """A project in a cluster. chosen: environment of the policy that it runs; left out, that of the base."""

    facts: Facts
    chosen: str | None = None
    release: BuiltIn = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "release", BuiltIn(".Release.Name", self.facts.slug))

    @property
    def policy(self) -> Policy:
        """trimtab.yaml, as the environment has it."""
        return self.policy_in(self.environment)

    def policy_in(self, environment: str) -> Policy:
        """Return trimtab.yaml as one environment has it."""
        found = self.facts.policy.environments.get(environment)
        return self.facts.policy if found is None else self.facts.policy.in_environment(found)

    @property
    def asked(self) -> Kubernetes:
        """The section of the policy."""
        return self.facts.policy.deploy.kubernetes

    @property
    def namespace(self) -> str:
        """Namespace of the base."""
        return self.asked.namespace or self.facts.slug[:63].strip("-")

    def namespace_of(self, environment: str) -> str:
        """Namespace of an overlay."""
        return f"{self.namespace[: 62 - len(environment)]}-{environment}"

    @property
    def environment(self) -> str:
        """Environment of the policy that it runs; that of the base is production, where there is one."""
        return self.chosen or ("production" if "production" in self.facts.policy.environments else LOCAL)

    @property
    def alike(self) -> list[str]:
        """Environments whose objects are those of this one, but for their name."""
        names = [LOCAL, *(name for name in self.facts.policy.environments if name != LOCAL)]
        return [name for name in names if self.policy_in(name).serving == self.policy.serving]

    @property
    def apart(self) -> bool:
        """Whether gateways are pods of their own, so that there may be several."""
        return self.asked.replicas.max > 1

    def name(self, part: str = "") -> Joined:
        """Return the name of an object: that of the release, and a part."""
        return Joined(f"%s-{part}" if part else "%s", (self.release,))

    def image(self, part: str) -> Joined:
        """Return the image of a part."""
        repository = Value(
            "image.repository", self.facts.image, "Repository of the images, without part and tag.", TEXT
        )
        tag = Value("image.tag", "", "Tag of the images; empty, the appVersion of the chart.", TEXT)
        version = BuiltIn(".Chart.AppVersion", self.facts.version)
        return Joined(f"%s-{part}:%s", (repository, Either(tag, version)))

    def labels(self, component: str | None = None) -> dict[str, Any]:
        """Return the labels of an object, by which selectors find pods, too."""
        found = {"app.kubernetes.io/name": self.facts.slug, "app.kubernetes.io/instance": self.release}
        return found if component is None else {**found, "app.kubernetes.io/component": component}

    def metadata(self, part: str = "", component: str | None = None, **further: Any) -> dict[str, Any]:
        """Return the metadata of an object."""
        return {"name": self.name(part), "labels": self.labels(component), **further}


def check(cluster: Cluster) -> None:
    """Raise PolicyError for what a cluster cannot run as the policy says it."""
    policy, asked = cluster.facts.policy, cluster.asked
    if len(cluster.facts.slug) > 40:
        raise PolicyError(
            f"{WHERE}: project: '{policy.project}' is too long for names in a cluster; expected at most 40 letters"
        )
    for key, url in _urls(policy):
        if _PASSWORD.search(url):
            raise PolicyError(
                f"{WHERE}: {key}: holds a password, which would stand in a ConfigMap; write the variable that holds "
                "it, such as ${DATABASE_PASSWORD}"
            )
    if policy.training.on in ("container", "kubernetes"):
        raise PolicyError(
            f"{WHERE}: training.on: the loop's pod can start neither containers nor Jobs, so no training runs by "
            f"'{policy.training.on}' there; expected process, subprocess or ray"
        )
    check_folders(cluster.facts, asked.volumes.values())
    environments = {LOCAL: Environment(), **policy.environments}
    exported = [name for name in environments if name != LOCAL or cluster.environment == LOCAL]
    for name, each in ((name, environments[name]) for name in exported):
        for store in STORES:
            place = getattr(each, store)
            if place is None or "://" in place or lies_in(place, (ROOT, *asked.volumes.values())):
                continue
            raise PolicyError(
                f"{WHERE}: environments.{name}.{store}: '{place}' is on no volume; expected a folder in {ROOT}, such "
                f"as {ROOT}/{name}, or in one that {KEY}.volumes names"
            )
        if asked.replicas.max > 1:
            _expect_shared(f"environments.{name}", each)
        if asked.ingress is not None and cluster.policy_in(name).serving.authentication == "none":
            raise PolicyError(
                f"{WHERE}: {KEY}.ingress: lets callers from outside reach a gateway that asks for no token in "
                f"environment '{name}'; expected serving.authentication: tokens"
            )
    for key, who in (("ingress", "the controller of the Ingress"), ("service_monitor", "Prometheus")):
        if getattr(asked, key) and not asked.callers:
            raise PolicyError(
                f"{WHERE}: {KEY}.{key}: the NetworkPolicy lets {who} in only from a namespace that {KEY}.callers "
                f"names; expected such as callers: [{'ingress-nginx' if key == 'ingress' else 'monitoring'}]"
            )
    if asked.ingest is not None and not cluster.apart:
        raise PolicyError(
            f"{WHERE}: {KEY}.ingest: a pod of its own cannot share the stores in folders with the loop; expected "
            "replicas.max above 1, or a trigger: triggers: { rows: { on: schedule, run: ingest, "
            f"cron: '{asked.ingest}' }} }}"
        )
    if asked.replicas.max > 1:
        for source in cluster.facts.definitions.sources.values():
            if isinstance(source, PushSource):
                raise PolicyError(
                    f"{WHERE}: {KEY}.replicas.max: {asked.replicas.max} gateways cannot share the folder in which rows "
                    f"pushed to source '{source.name}' wait; expected 1, or a source in Kafka"
                )
        for model in cluster.facts.definitions.models.values():
            if model.views:
                raise PolicyError(
                    f"{WHERE}: {KEY}.replicas.max: {asked.replicas.max} gateways cannot share the values of feature "
                    f"views, which model '{model.name}' reads and which lie in a folder of one machine; expected 1, "
                    "and serving.workers for more processes"
                )


def _expect_shared(key: str, environment: Environment) -> None:
    for store, scheme, words in (("metadata", "postgresql", "PostgreSQL"), ("predictions", "kafka", "Kafka")):
        if not (getattr(environment, store) or "").startswith(scheme):
            raise PolicyError(
                f"{WHERE}: {KEY}.replicas.max: several gateways need {key}.{store} in {words}, which several machines "
                f"can share; expected 1, or {store}: {scheme}://..."
            )


def _urls(policy: Policy) -> Iterator[tuple[str, str]]:
    for name, each in policy.environments.items():
        for key in ("metadata", "predictions", "stream", "tracking"):
            if (url := getattr(each, key)) is not None:
                yield f"environments.{name}.{key}", url
    for name, channel in policy.alerts.channels.items():
        yield f"alerts.channels.{name}.url", str(channel.url)
