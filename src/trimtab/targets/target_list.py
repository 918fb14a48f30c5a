"""All systems that Trimtab writes files for, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trimtab.targets import airflow, dagster, grafana
from trimtab.targets.clouds import kubeflow_files, sagemaker_files, vertex_files
from trimtab.targets.docker import dockerfiles
from trimtab.targets.kubernetes import manifests
from trimtab.targets.pipelines import github, gitlab, jenkins
from trimtab.targets.project_facts import Facts
from trimtab.targets.terraform import terraform_files


@dataclass(frozen=True, kw_only=True)
class Target:
    """One system.

    Attributes:
        files: the texts of its files by their paths. Raises PolicyError or DefinitionError for a value that the system
            does not take, before any text is made.
        about: one line for people.
        at_root: paths start at the root of the repository, else at the project folder.
    """

    files: Callable[[Facts], dict[str, str]]
    about: str
    at_root: bool = False


EXPORTS: Mapping[str, Target] = {
    "airflow": Target(files=airflow.files, about="a DAG for Airflow 3 that runs the stages of each model"),
    "dagster": Target(files=dagster.files, about="definitions for Dagster: tables, runs and what serves as assets"),
    "docker": Target(files=dockerfiles.files, about="images of gateway, loop and trainings, and a compose file"),
    "grafana": Target(
        files=lambda facts: grafana.files(facts.policy), about="a dashboard, and alerting rules for Prometheus"
    ),
    "kubernetes": Target(
        files=manifests.files, about="a Helm chart, the same for Kustomize, an Argo CD Application, KServe"
    ),
    "kubeflow": Target(
        files=kubeflow_files.files, about="a pipeline of Kubeflow Pipelines 2 whose components run the stages"
    ),
    "sagemaker": Target(
        files=sagemaker_files.files, about="pipelines, endpoints with variants and roles of SageMaker, and deploy.py"
    ),
    "terraform": Target(
        files=terraform_files.files,
        about="modules for AWS and Google Cloud: cluster, database, bucket, images, roles",
    ),
    "vertex": Target(
        files=vertex_files.files,
        about="models, endpoints with a traffic split and a pipeline of Vertex AI, and deploy.py",
    ),
}
"""Systems of `trimtab export`."""

PIPELINES: Mapping[str, Target] = {
    "github": Target(files=github.files, about="workflows of GitHub Actions", at_root=True),
    "gitlab": Target(files=gitlab.files, about="a pipeline of GitLab CI", at_root=True),
    "jenkins": Target(files=jenkins.files, about="Jenkinsfiles", at_root=True),
}
"""CI servers of `trimtab ci`."""
