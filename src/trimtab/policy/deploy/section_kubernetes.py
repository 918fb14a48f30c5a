"""The section `deploy.kubernetes` of trimtab.yaml: what a cluster gives a project."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from trimtab.policy.section import Section
from trimtab.policy.trigger_rules import Cron
from trimtab.policy.values import Bytes, Written

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST = rf"(\*\.)?{LABEL}(\.{LABEL})+"


def _cores(value: object) -> object:
    text = "" if isinstance(value, bool) else str(value)
    if not re.fullmatch(r"\d+m|\d+(\.\d{1,3})?", text) or not text.strip("0m."):
        raise ValueError(f"'{value}' is no number of cores; expected such as 500m or 2")
    return text


def _for_clusters(value: str) -> str:
    days = "" if value.startswith("@") else value.split()[4]
    if re.search(r"[L#]", value.upper().replace("JUL", "")) or re.search(r"(?<!/)7", days):
        raise ValueError(f"'{value}': CronJobs know neither L nor # nor 7 for Sunday, which is 0 there")
    return value


Cores = Annotated[str, BeforeValidator(_cores), Written("cores", {"anyOf": [{"type": "string"}, {"type": "number"}]})]
Name = Annotated[str, Field(pattern=rf"^{LABEL}$")]
Host = Annotated[str, Field(pattern=rf"^{HOST}$")]


class Replicas(Section):
    """Pods of the gateway."""

    min: int = Field(default=1, ge=1, le=1000)
    """At least."""
    max: int = Field(default=1, ge=1, le=1000)
    """At most; more than 1 needs stores that several machines can share: `metadata` in PostgreSQL and `predictions` in
    Kafka, and models without feature views."""

    @model_validator(mode="after")
    def _ordered(self) -> Replicas:
        if self.max < self.min:
            raise ValueError(f"max {self.max} is less than min {self.min}")
        return self


class Storage(Section):
    """The volume of the stores in folders."""

    size: Bytes = 10 * 2**30
    """Its size."""
    storage_class: Name | None = None
    """Its storage class; left out, the cluster's default."""
    access: Literal["ReadWriteOnce", "ReadWriteMany"] | None = None
    """Its access mode; left out, ReadWriteOnce, and ReadWriteMany for several gateways."""


class Ingress(Section):
    """How callers outside of the cluster reach the gateway."""

    host: Host
    """Name under which it is reached, such as flights.example.com."""
    ingress_class: Name | None = None
    """Class of the Ingress; left out, the cluster's default."""
    tls_secret: Name | None = None
    """Secret with the certificate of the Ingress; left out, it has none."""
    gateway: Name | None = None
    """Gateway of the Gateway API; with it an HTTPRoute is written in place of the Ingress."""


class Kubernetes(Section):
    """Kubernetes, for `trimtab export kubernetes`. Secrets do not stand here."""

    namespace: Name | None = None
    """Left out, the name of the project."""
    replicas: Replicas = Replicas()
    """Pods of the gateway."""
    cpu: Cores = "500m"
    """Cores that the gateway asks for."""
    memory: Bytes = 2**30
    """Memory of the gateway: asked for, and not exceeded."""
    loop_cpu: Cores = "500m"
    """Cores that the loop asks for."""
    loop_memory: Bytes = 2 * 2**30
    """Memory of the loop, and of the trainings that run in it."""
    storage: Storage = Storage()
    """The volume of the stores in folders."""
    volumes: dict[str, str] = {}
    """PersistentVolumeClaims of yours, each with the folder where all pods mount it, such as `shared: /mnt/shared`, for
    folders of `environments` and sources outside of the project."""
    ingress: Ingress | None = None
    """Left out, the gateway is reached inside of the cluster alone."""
    callers: list[Name] = []
    """Namespaces, in addition to the project's own, whose pods may call the gateway."""
    service_monitor: bool = False
    """Write a ServiceMonitor, by which the Prometheus Operator scrapes the gateway."""
    secret: Name | None = None
    """Secret with the variables that policy and definitions name; left out, PROJECT-secrets."""
    ingest: Annotated[Cron, AfterValidator(_for_clusters)] | None = None
    """When `trimtab ingest` runs in a pod of its own, such as '0 * * * *'; left out, no CronJob is written. It needs
    stores that machines share, as `replicas.max` above 1 does; else let a trigger of the loop `run: ingest`."""
    models: str | None = Field(default=None, pattern=r"^(pvc|s3|gs|https?|hdfs)://\S+[^/\s]$")
    """Folder in which KServe finds the models, each in MODEL/champion and MODEL/challenger; left out, .trimtab/models
    in the project's volume."""
    repository: str | None = Field(default=None, pattern=r"^(https?://|ssh://|git@)\S+$")
    """Repository from which Argo CD installs; left out, no Application is written. It names no password."""

    @field_validator("volumes")
    @classmethod
    def _mounted(cls, volumes: dict[str, str]) -> dict[str, str]:
        for name, path in volumes.items():
            if not re.fullmatch(LABEL, name) or not re.fullmatch(r"(/\w[\w.-]*)+", path):
                raise ValueError(f"'{name}: {path}' is no claim and folder; expected such as shared: /mnt/shared")
        return volumes

    @model_validator(mode="after")
    def _without_password(self) -> Kubernetes:
        if self.repository is not None and re.match(r"https?://[^/]*:[^/]*@", self.repository):
            raise ValueError("repository holds a password; Argo CD gets it in a Secret of its own")
        return self
