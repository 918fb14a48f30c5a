"""The sections `deploy.aws` and `deploy.gcp` of trimtab.yaml: where a project lives in these clouds."""

from __future__ import annotations

from pydantic import Field, model_validator

from trimtab.policy.deploy.cloud_names import (
    Account,
    AwsRegion,
    Bucket,
    DatabaseInstance,
    DatabaseTier,
    GcpMachine,
    GcpProject,
    GcpRegion,
    GcsBucket,
    Role,
    SageMakerInstance,
    ServiceAccount,
)
from trimtab.policy.section import Section
from trimtab.policy.values import Bytes


class Aws(Section):
    """Amazon Web Services, for `trimtab export sagemaker` and `terraform`. Secrets do not stand here."""

    region: AwsRegion | None = None
    """Such as eu-central-1; the files for AWS need it."""
    account_env: Account = "AWS_ACCOUNT_ID"
    """Name of the environment variable with the twelve digits of the account; the account itself stands in no file."""
    bucket: Bucket | None = None
    """Bucket of bundles, training data and what jobs write; left out, PROJECT-trimtab-ACCOUNT."""
    role: Role | None = None
    """Role that training, endpoints and pipelines of SageMaker take on, a name or an ARN; left out,
    PROJECT-sagemaker."""
    endpoint_instance: SageMakerInstance = "ml.m5.large"
    """Instance type of endpoints."""
    endpoint_instances: int = Field(default=1, ge=1, le=1000)
    """Instances of each variant of an endpoint."""
    training_instance: SageMakerInstance = "ml.m5.xlarge"
    """Instance type of trainings and of the stages of the pipeline."""
    training_disk: Bytes = 30 * 2**30
    """Disk of a training; whole GB are taken, rounded up."""
    database_instance: DatabaseInstance = "db.t4g.small"
    """Instance class of the PostgreSQL database of `trimtab export terraform`."""


class Gcp(Section):
    """Google Cloud, for `trimtab export vertex` and `terraform`. Secrets do not stand here."""

    project: GcpProject | None = None
    """Id of the project; the files for Google Cloud need it."""
    region: GcpRegion | None = None
    """Such as europe-west3; the files for Google Cloud need it."""
    bucket: GcsBucket | None = None
    """Bucket of bundles and of what pipelines write; left out, the project's id with -trimtab."""
    service_account: ServiceAccount | None = None
    """Account that endpoints and pipelines run as, a name or an address; left out, PROJECT-vertex."""
    endpoint_machine: GcpMachine = "n1-standard-2"
    """Machine type of deployed models."""
    endpoint_replicas: int = Field(default=1, ge=1, le=1000)
    """Replicas of a deployed model, at least."""
    endpoint_max_replicas: int | None = Field(default=None, ge=1, le=1000)
    """Replicas of a deployed model, at most; left out, as many as `endpoint_replicas`."""
    training_machine: GcpMachine = "n1-standard-4"
    """Machine type of trainings."""
    database_tier: DatabaseTier = "db-custom-1-3840"
    """Machine of the PostgreSQL database of `trimtab export terraform`: processors and MB of memory."""

    @model_validator(mode="after")
    def _ordered(self) -> Gcp:
        if self.endpoint_max_replicas is not None and self.endpoint_max_replicas < self.endpoint_replicas:
            raise ValueError(
                f"endpoint_max_replicas {self.endpoint_max_replicas} is less than endpoint_replicas "
                f"{self.endpoint_replicas}"
            )
        return self
