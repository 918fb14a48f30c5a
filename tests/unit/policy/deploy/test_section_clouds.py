"""Values of `deploy.aws` and `deploy.gcp`: what the cloud would refuse is told with its key and the right form."""

from __future__ import annotations

import pytest

from trimtab.errors import PolicyError
from trimtab.policy.deploy.section_deploy import Deploy
from trimtab.policy.reader import parse_policy


def deploy(text: str) -> Deploy:
    return parse_policy(f"project: p\ndeploy:\n  {text}\n").deploy


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("aws: { region: eu-central1 }", "deploy.aws.region: .*Did you mean 'eu-central-1'"),
        ("aws: { region: eu-central-1a }", "deploy.aws.region: .*Did you mean 'eu-central-1'"),
        ("aws: { region: frankfurt }", "deploy.aws.region: 'frankfurt' is no region of AWS; expected such as"),
        ("aws: { bucket: 's3://My_Models' }", "deploy.aws.bucket: .*Did you mean 'my-models'"),
        ("aws: { bucket: 10.0.0.1 }", "deploy.aws.bucket: .* is no name of a bucket"),
        ("aws: { bucket: a..b }", "deploy.aws.bucket: .* is no name of a bucket"),
        ("aws: { role: 'a b' }", "deploy.aws.role: .* is no role of IAM"),
        ("aws: { account_env: '123456789012' }", "deploy.aws.account_env: .* environment variable"),
        ("aws: { endpoint_instance: m5.large }", "deploy.aws.endpoint_instance: .*Did you mean 'ml.m5.large'"),
        ("aws: { endpoint_instances: 0 }", "deploy.aws.endpoint_instances: expected 1 or more"),
        ("gcp: { region: europe-west3-a }", "deploy.gcp.region: .*Did you mean 'europe-west3'"),
        ("gcp: { project: My Project }", "deploy.gcp.project: .*Did you mean 'my-project'"),
        ("gcp: { bucket: google-models }", "deploy.gcp.bucket: .* is no name of a bucket"),
        ("gcp: { service_account: x }", "deploy.gcp.service_account: 'x' is no service account"),
        ("gcp: { endpoint_machine: ml.m5.large }", "deploy.gcp.endpoint_machine: .* is no machine type"),
        ("gcp: { endpoint_replicas: 3, endpoint_max_replicas: 2 }", "endpoint_max_replicas 2 is less than"),
    ],
)
def test_what_a_cloud_would_refuse_is_told(text: str, told: str) -> None:
    with pytest.raises(PolicyError, match=f"trimtab.yaml:3: {told}|trimtab.yaml:3: deploy.gcp: {told}"):
        deploy(text)


def test_names_of_the_clouds_are_taken() -> None:
    aws = deploy(
        "aws: { region: us-gov-west-1, bucket: my.models-1, role: 'arn:aws:iam::123456789012:role/ml/flights', "
        "endpoint_instance: ml.g4dn.12xlarge, training_disk: 50GB }"
    ).aws
    assert (aws.region, aws.training_disk) == ("us-gov-west-1", 50 * 10**9)
    gcp = deploy(
        "gcp: { project: my-project-1, region: northamerica-northeast1, bucket: my_models, "
        "endpoint_machine: a2-highgpu-1g, service_account: ml-runs@my-project-1.iam.gserviceaccount.com }"
    ).gcp
    assert gcp.region == "northamerica-northeast1"
