"""Modules of Terraform for AWS and Google Cloud, with the values of the policy in terraform.tfvars. Pure.

The modules are the same for every project. What differs stands in terraform.tfvars, with a region for more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources

from trimtab.errors import PolicyError
from trimtab.targets.clouds.cloud_places import aws_place, gcp_place
from trimtab.targets.kept_regions import region
from trimtab.targets.kubernetes.deployment_facts import Cluster
from trimtab.targets.project_facts import Facts

FOLDER = "deploy/terraform"
HEAD = "# Written by trimtab export terraform; values stand in terraform.tfvars, which is made from trimtab.yaml.\n\n"
VALUES_HEAD = "# Written by trimtab export terraform from trimtab.yaml. Further variables stand between the marks.\n"
NAME = re.compile(r"(?!.*--)[a-z][a-z0-9-]{0,22}[a-z0-9]")
"""What clouds take as the beginning of all names; aws/variables.tf and gcp/variables.tf say the same."""
IGNORED = "# Written by trimtab export terraform.\n.terraform/\n*.tfstate\n*.tfstate.*\n*.tfplan\ncrash.log\n"

Values = Mapping[str, str | Sequence[str] | None]


def files(facts: Facts) -> dict[str, str]:
    """Return the texts of the modules of each cloud that the policy names, by their paths in the project.

    Raises PolicyError when the policy names no cloud, or the project has a name that clouds do not take.
    """
    values = _values(facts)
    if not values:
        raise PolicyError(
            "trimtab.yaml: export terraform needs deploy.aws.region, or deploy.gcp.project and deploy.gcp.region; "
            "expected such as deploy: { aws: { region: eu-central-1 } }"
        )
    found = {f"{FOLDER}/.gitignore": IGNORED}
    for cloud, of in values.items():
        for each in sorted(resources.files(__package__).joinpath(cloud).iterdir(), key=lambda file: file.name):
            found[f"{FOLDER}/{cloud}/{each.name}"] = HEAD + each.read_text(encoding="utf-8")
        found[f"{FOLDER}/{cloud}/terraform.tfvars"] = VALUES_HEAD + _assigned(of) + region("values")
    return found


def _values(facts: Facts) -> dict[str, Values]:
    """Return the values of variables by cloud; what is None keeps the default of its variable."""
    aws, gcp = facts.policy.deploy.aws, facts.policy.deploy.gcp
    found: dict[str, Values] = {}
    if aws.region is not None:
        place = aws_place(facts, "terraform")
        found["aws"] = {
            **_shared(facts),
            "region": place.region,
            "bucket": aws.bucket,
            "repository": place.repository,
            "database_instance": aws.database_instance,
        }
    if gcp.project is not None or gcp.region is not None:
        at = gcp_place(facts, "terraform")
        found["gcp"] = {
            **_shared(facts),
            "project_id": at.project,
            "region": at.region,
            "bucket": at.bucket,
            "database_tier": gcp.database_tier,
        }
    return found


def _shared(facts: Facts) -> Values:
    if not NAME.fullmatch(facts.slug):
        raise PolicyError(
            f"trimtab.yaml: project: '{facts.policy.project}' becomes '{facts.slug}' in names of resources, which "
            "clouds do not take; expected 2 to 24 letters, digits and hyphens, beginning with a letter"
        )
    cluster = Cluster(facts)
    return {
        "project": facts.slug,
        "namespace": cluster.namespace,
        "service_account": facts.slug,
        "secrets": sorted(facts.secrets),
    }


def _assigned(values: Values) -> str:
    """Return assignments, aligned as `terraform fmt` does."""
    given = {name: value for name, value in values.items() if value is not None}
    width = max(map(len, given))
    return "".join(f"{name:<{width}} = {json.dumps(value)}\n" for name, value in given.items())
