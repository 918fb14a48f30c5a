"""The section `deploy` of trimtab.yaml: what the files for CI servers and platforms say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from trimtab.policy.deploy.section_ci import Ci
from trimtab.policy.deploy.section_clouds import Aws, Gcp
from trimtab.policy.deploy.section_kubernetes import Kubernetes
from trimtab.policy.section import Section

PythonVersion = Annotated[
    Literal["3.11", "3.12", "3.13"],
    BeforeValidator(lambda value: str(value) if isinstance(value, float) else value),  # YAML reads 3.12 as a number
]


class Deploy(Section):
    """Files for CI servers and platforms, which `trimtab ci` and `trimtab export` write."""

    python: PythonVersion = "3.12"
    """Version of Python in pipelines and images."""
    image: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._:/-]*[a-z0-9]$")
    """Repository of the images, such as registry.example.com/team/flights; a part (gateway, loop, training) and a tag
    are added. Left out, the name of the project."""
    aws: Aws = Aws()
    """Amazon Web Services."""
    gcp: Gcp = Gcp()
    """Google Cloud."""
    ci: Ci = Ci()
    """The pipeline of a CI server."""
    kubernetes: Kubernetes = Kubernetes()
    """Kubernetes."""
