"""Where a project lives in AWS and Google Cloud: the names that the policy leaves out, and what must be there. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trimtab.definitions.models import Model
from trimtab.definitions.sources import FileSource
from trimtab.errors import DefinitionError, PolicyError
from trimtab.targets.project_facts import Facts

ACCOUNT = "${ACCOUNT}"
"""Stands for the account in the files for AWS; deploy.py puts it in."""
TAG = "${IMAGE_TAG}"
"""Stands for the tag of the images."""
PARTITIONS = {"cn": "aws-cn", "us-gov": "aws-us-gov", "us-iso": "aws-iso", "us-isob": "aws-iso-b"}


@dataclass(frozen=True, kw_only=True)
class AwsPlace:
    """Names of a project in AWS."""

    region: str
    partition: str
    bucket: str
    role: str
    """ARN."""
    registry: str
    """Repository of the images in ECR, without part and tag."""
    repository: str
    """The same without its host."""


@dataclass(frozen=True, kw_only=True)
class GcpPlace:
    """Names of a project in Google Cloud."""

    project: str
    region: str
    bucket: str
    service_account: str
    registry: str


def aws_place(facts: Facts, target: str) -> AwsPlace:
    """Return the names in AWS. Raises PolicyError without a region."""
    aws = facts.policy.deploy.aws
    region = needed(aws.region, "deploy.aws.region", target, "eu-central-1")
    prefix = region.rsplit("-", 2)[0]
    partition = PARTITIONS.get(prefix, "aws")
    role = aws.role or f"{facts.slug}-sagemaker"
    repository = _without_host(facts.image)
    suffix = ".cn" if partition == "aws-cn" else ""
    return AwsPlace(
        region=region,
        partition=partition,
        bucket=aws.bucket or _short(f"{facts.slug}-trimtab", 50) + f"-{ACCOUNT}",
        role=role if role.startswith("arn:") else f"arn:{partition}:iam::{ACCOUNT}:role/{role}",
        registry=f"{ACCOUNT}.dkr.ecr.{region}.amazonaws.com{suffix}/{repository}",
        repository=repository,
    )


def gcp_place(facts: Facts, target: str) -> GcpPlace:
    """Return the names in Google Cloud. Raises PolicyError without project and region, and for an impossible name."""
    gcp = facts.policy.deploy.gcp
    project = needed(gcp.project, "deploy.gcp.project", target, "flights-prod-4711")
    region = needed(gcp.region, "deploy.gcp.region", target, "europe-west3")
    if not facts.slug[0].isalpha():
        raise PolicyError(
            f"trimtab.yaml: project: '{facts.policy.project}' begins with a digit; names of Google Cloud that export "
            f"{target} makes of it begin with a letter"
        )
    account = gcp.service_account or _short(f"{facts.slug}-vertex", 30)
    image = facts.image
    if "/" not in image or "." not in image.partition("/")[0]:
        image = f"{region}-docker.pkg.dev/{project}/{facts.slug}/{image}"
    return GcpPlace(
        project=project,
        region=region,
        bucket=gcp.bucket or _short(f"{project}-trimtab", 63),
        service_account=account if "@" in account else f"{account}@{project}.iam.gserviceaccount.com",
        registry=image,
    )


def needed(value: str | None, key: str, target: str, example: str) -> str:
    """Return a value of the policy. Raises PolicyError when it was left out."""
    if value is None:
        raise PolicyError(f"trimtab.yaml: {key}: export {target} needs it; expected such as {example}")
    return value


def models_of(facts: Facts, target: str) -> list[Model]:
    """Return the models of a project, in the order of definitions.py. Raises DefinitionError when there is none."""
    if not facts.definitions.models:
        raise DefinitionError(f"definitions.py: no model to export to {target}; add one with: tt.Model(...)")
    return list(facts.definitions.models.values())


def resource_name(facts: Facts, model: str, *, longest: int) -> str:
    """Return the name of a model's resources: letters, digits and hyphens. Raises PolicyError for one too long."""
    name = f"{facts.slug}-{model.replace('_', '-')}"
    if len(name) > longest:
        raise PolicyError(
            f"trimtab.yaml: project: '{facts.policy.project}' and the model '{model}' make a name of {len(name)} "
            f"characters, {name}; expected at most {longest}"
        )
    return name


def channel_sources(facts: Facts, model: Model) -> list[FileSource]:
    """Return the sources of a model whose rows lie in files of the project folder."""
    return [each for each in _file_sources(facts, model) if not each.is_remote and not each.path.startswith(("/", "~"))]


def remote_folders(facts: Facts, scheme: str) -> list[str]:
    """Return bucket and path of the sources of the models that an object store holds, without globs."""
    models = facts.definitions.models.values()
    found = [each for model in models for each in _file_sources(facts, model) if each.path.startswith(f"{scheme}://")]
    folders = (re.split(r"[*?\[]", each.path.removeprefix(f"{scheme}://"))[0] for each in found)
    return list(dict.fromkeys(folder.rstrip("/") for folder in folders))


def _file_sources(facts: Facts, model: Model) -> Iterable[FileSource]:
    sources = [
        model.examples,
        *(view.source for view in model.views),
        *([model.outcomes.source] if model.outcomes else []),
    ]
    found: Sequence[object] = [
        facts.definitions.sources.get(name) for name in dict.fromkeys(each.name for each in sources)
    ]
    return [each for each in found if isinstance(each, FileSource)]


def _without_host(image: str) -> str:
    host, slash, rest = image.partition("/")
    return rest if slash and ("." in host or ":" in host) else image


def _short(name: str, longest: int) -> str:
    return name[:longest].rstrip("-.")
