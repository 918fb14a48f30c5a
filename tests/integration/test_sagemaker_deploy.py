"""deploy.py of `trimtab export sagemaker` against moto, which stands for SageMaker, S3 and IAM."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from moto import mock_aws

from kit.commands import run_commands_here
from kit.target_facts import DEFINITIONS
from trimtab.app.delivery import written_targets
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.records.record import Role
from trimtab.testing.bundles import lookup_graph, plain_spec, register_bundle

POLICY = """
project: Order Values
rollout: { strategy: canary, canary: { steps: [5%, 50%], min_requests: 0 } }
deploy: { aws: { region: eu-central-1 } }
"""
NAME = "order-values-size"
ACCOUNT = "123456789012"
"""That of moto."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    (tmp_path / "trimtab.yaml").write_text(POLICY)
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    written_targets.write(written_targets.target_files(tmp_path, "sagemaker"))
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "eu-central-1"}
    for name, value in {**credentials, "AWS_ACCOUNT_ID": ACCOUNT, "IMAGE_TAG": "v1"}.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        boto3.setup_default_session()
        boto3.DEFAULT_SESSION.events.register("before-call.sagemaker.UpdateEndpoint", update_endpoint)
        bucket = {"LocationConstraint": "eu-central-1"}
        boto3.client("s3").create_bucket(Bucket=f"order-values-trimtab-{ACCOUNT}", CreateBucketConfiguration=bucket)
        yield open_workspace(tmp_path)


def update_endpoint(params: dict[str, Any], **_: Any) -> tuple[Any, dict[str, str]]:
    """Do what UpdateEndpoint does, which moto lacks: the variants become those of another configuration."""
    asked, sagemaker = json.loads(params["body"]), boto3.client("sagemaker")
    sagemaker.delete_endpoint(EndpointName=asked["EndpointName"])
    made = sagemaker.create_endpoint(**asked)
    return AWSResponse("https://sagemaker", 200, {}, None), {"EndpointArn": made["EndpointArn"]}


def deploy(project: Workspace, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run deploy.py as a person does, in this process, where moto is."""
    file = project.project.folder / "deploy" / "sagemaker" / "deploy.py"
    monkeypatch.setattr(sys, "argv", [str(file), *arguments])
    with monkeypatch.context() as patch:
        run_commands_here(patch)
        runpy.run_path(str(file), run_name="__main__")


def serve(project: Workspace, version: int, role: Role) -> None:
    spec = plain_spec("size", ("length",))
    bundle = register_bundle(
        project.metadata,
        project.artifacts,
        lookup_graph((version / 10, 0.75), 1),
        spec,
        version=version,
        created_at=project.now(),
    )
    open_rollouts(project, "size").deploy(bundle, cause=f"c{version}", reason="a test", by="tests", role=role)


def weights(sagemaker: Any) -> dict[str, float]:
    found = sagemaker.describe_endpoint(EndpointName=NAME)["ProductionVariants"]
    return {each["VariantName"]: each["CurrentWeight"] for each in found}


def test_an_endpoint_follows_a_rollout(project: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    sagemaker, rollouts = boto3.client("sagemaker"), open_rollouts(project, "size")
    serve(project, 1, "champion")
    deploy(project, monkeypatch, "endpoints", "size")
    assert weights(sagemaker) == {"champion": 100.0}
    serve(project, 2, "challenger")
    deploy(project, monkeypatch, "endpoints", "size")
    assert weights(sagemaker) == {"champion": 95.0, "challenger": 5.0}
    config = sagemaker.describe_endpoint(EndpointName=NAME)["EndpointConfigName"]
    rollouts.step(cause="further", reason="a test", by="tests")
    deploy(project, monkeypatch, "endpoints", "size")
    assert weights(sagemaker) == {"champion": 50.0, "challenger": 50.0}
    assert sagemaker.describe_endpoint(EndpointName=NAME)["EndpointConfigName"] == config
    capfd.readouterr()
    deploy(project, monkeypatch, "endpoints", "size")
    assert "champion 50 %, challenger 50 % (unchanged)" in capfd.readouterr().out
    models = sagemaker.list_models()["Models"]
    assert len(models) == 2
    bundle = sagemaker.describe_model(ModelName=models[0]["ModelName"])["PrimaryContainer"]["ModelDataUrl"]
    key = bundle.removeprefix(f"s3://order-values-trimtab-{ACCOUNT}/")
    assert boto3.client("s3").head_object(Bucket=f"order-values-trimtab-{ACCOUNT}", Key=key)["ContentLength"] > 0


def test_a_shadow_is_a_variant_that_answers_nothing(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []  # moto does not keep shadow variants
    boto3.DEFAULT_SESSION.events.register(
        "before-call.sagemaker.CreateEndpointConfig", lambda params, **_: sent.append(json.loads(params["body"]))
    )
    serve(project, 1, "champion")
    serve(project, 2, "shadow")
    deploy(project, monkeypatch, "endpoints", "size")
    assert [each["VariantName"] for each in sent[0]["ProductionVariants"]] == ["champion"]
    assert [each["VariantName"] for each in sent[0]["ShadowProductionVariants"]] == ["shadow"]
    assert weights(boto3.client("sagemaker")) == {"champion": 100.0}


def test_role_and_pipelines_can_be_made_again(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    sagemaker, iam = boto3.client("sagemaker"), boto3.client("iam")
    for _ in range(2):
        deploy(project, monkeypatch, "role")
        deploy(project, monkeypatch, "pipelines")
    rights = iam.get_role_policy(RoleName="order-values-sagemaker", PolicyName="trimtab")["PolicyDocument"]
    assert f"order-values-trimtab-{ACCOUNT}" in json.dumps(rights)
    names = {each["PipelineName"] for each in sagemaker.list_pipelines()["PipelineSummaries"]}
    assert names == {"order-values-order-value", "order-values-size"}
    definition = json.loads(sagemaker.describe_pipeline(PipelineName=NAME)["PipelineDefinition"])
    assert definition["Steps"][0]["Arguments"]["RoleArn"].startswith(f"arn:aws:iam::{ACCOUNT}:role/")
    assert "${" not in json.dumps(definition)
    deploy(project, monkeypatch, "start", "size", "2026-01-01")
    runs = sagemaker.list_pipeline_executions(PipelineName=NAME)["PipelineExecutionSummaries"]
    assert len(runs) == 1


def test_what_is_missing_is_told(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no model 'sise'; there are: order_value, size"):
        deploy(project, monkeypatch, "endpoints", "sise")
    monkeypatch.delenv("AWS_ACCOUNT_ID")
    with pytest.raises(SystemExit, match="set AWS_ACCOUNT_ID, an environment variable"):
        deploy(project, monkeypatch, "pipelines")
