"""Files for SageMaker: bodies that the service's own model takes, names that fit, rights that are the least."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from kit.target_facts import NONE, facts
from trimtab.errors import DefinitionError, PolicyError
from trimtab.targets.clouds import sagemaker_files

AWS = "deploy: { aws: { region: eu-central-1 } }"
POLICY = f"project: Order Values\n{AWS}\n"
CANARY = """
project: Order Values
rollout: { strategy: canary, canary: { steps: [5%, 50%] } }
retrain: { timeout: 2h }
deploy: { image: "registry.example.com/team/orders", aws: { region: cn-north-1, role: ml, training_disk: 100.5GB } }
"""
SERVICE = botocore.session.get_session().get_service_model("sagemaker")


def made(folder: Path, policy: str) -> dict[str, Any]:
    found = sagemaker_files.files(facts(folder, policy))
    return {
        path.removeprefix("deploy/sagemaker/"): json.loads(text)
        for path, text in found.items()
        if path.endswith(".json")
    }


def filled(value: Any) -> Any:
    """Return a request with what deploy.py and SageMaker Pipelines put in."""
    if isinstance(value, dict):
        return "filled-in" if set(value) <= {"Get", "Std:Join"} else {key: filled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each) for each in value]
    if isinstance(value, str):
        return value.replace("${ACCOUNT}", "123456789012").replace("${IMAGE_TAG}", "v1").replace("${MODEL}", "m")
    return value


def check(operation: str, body: dict[str, Any], **more: Any) -> None:
    """Validate a request by the service's model: fields, types, ranges, patterns of names."""
    shape = SERVICE.operation_model(operation).input_shape
    assert shape is not None
    request = filled(body) | more
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    for text, pattern in texts(request, shape):
        assert text == "filled-in" or re.fullmatch(pattern, text), (text, pattern)


def texts(value: Any, shape: Any) -> Iterator[tuple[str, str]]:
    if shape.type_name == "structure":
        for key, each in value.items():
            yield from texts(each, shape.members[key])
    elif shape.type_name == "list":
        for each in value:
            yield from texts(each, shape.member)
    elif shape.type_name == "string" and "\\p" not in (pattern := shape.metadata.get("pattern", ".*")):
        yield value, pattern  # Python knows no classes such as \\p{L}


@pytest.mark.parametrize("policy", [POLICY, CANARY], ids=["usual", "canary"])
def test_requests_are_what_the_service_takes(tmp_path: Path, policy: str) -> None:
    found = made(tmp_path, policy)
    for model in ("order_value", "size"):
        endpoint, pipeline = found[f"{model}/endpoint.json"], found[f"{model}/pipeline.json"]
        name = found["settings.json"]["models"][model]
        archive = {"ModelDataUrl": "s3://b/model.tar.gz"}
        container = endpoint["Model"]["PrimaryContainer"] | archive
        check("CreateModel", endpoint["Model"] | {"PrimaryContainer": container}, ModelName=f"{name}-1-0123456789")
        check("CreateEndpointConfig", endpoint["EndpointConfig"], EndpointConfigName=f"{name}-0123456789")
        train, gates = (step["Arguments"] for step in pipeline["Steps"])
        check("CreateTrainingJob", train, TrainingJobName="pipelines-abc-Train-def")
        check("CreateModelPackage", gates["IfSteps"][0]["Arguments"])
        text = json.dumps(pipeline)
        body = {"PipelineName": name, "PipelineDefinition": text, "RoleArn": found["settings.json"]["role"]}
        check("CreatePipeline", body, ClientRequestToken="t" * 32)
        parameters = {each["Name"] for each in pipeline["Parameters"]}
        assert set(re.findall(r"Parameters\.(\w+)", text)) == parameters
        assert set(re.findall(r"Steps\.(\w+)\.", text)) == {"Train"}


def test_shares_limits_and_channels_come_from_the_policy(tmp_path: Path) -> None:
    usual, canary = made(tmp_path, POLICY), made(tmp_path, CANARY)
    shares = {
        each["VariantName"]: each["InitialVariantWeight"]
        for each in canary["size/endpoint.json"]["EndpointConfig"]["ProductionVariants"]
    }
    assert shares == {"champion": 95.0, "challenger": 5.0}
    train = canary["size/pipeline.json"]["Steps"][0]["Arguments"]
    assert train["StoppingCondition"]["MaxRuntimeInSeconds"] == 7200
    assert train["ResourceConfig"]["VolumeSizeInGB"] == 101
    assert [each["ChannelName"] for each in train["InputDataConfig"]] == ["prices"]
    image = train["AlgorithmSpecification"]["TrainingImage"]
    assert image == "${ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn/team/orders-training:${IMAGE_TAG}"
    assert canary["settings.json"]["role"] == "arn:aws-cn:iam::${ACCOUNT}:role/ml"
    assert usual["settings.json"]["bucket"] == "order-values-trimtab-${ACCOUNT}"


def test_rights_name_what_they_hold_for(tmp_path: Path) -> None:
    found = made(tmp_path, POLICY)
    for name in ("role-policy.json", "deployer-policy.json"):
        for statement in found[name]["Statement"]:
            assert not any("*" in action for action in statement["Action"])
            if "*" in statement["Resource"]:
                assert set(statement["Action"]) <= {"ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"}


def test_what_cannot_be_is_told_before_any_text(tmp_path: Path) -> None:
    with pytest.raises(
        PolicyError, match=r"deploy\.aws\.region: export sagemaker needs it; expected such as eu-central-1"
    ):
        sagemaker_files.files(facts(tmp_path, "project: p\n"))
    with pytest.raises(PolicyError, match="make a name of 44 characters"):
        sagemaker_files.files(facts(tmp_path, f"project: {'p' * 32}\n{AWS}\n"))
    with pytest.raises(DefinitionError, match="no model to export to sagemaker"):
        sagemaker_files.files(facts(tmp_path, POLICY, NONE))


def test_the_one_who_deploys_may_not_change_the_role_that_is_passed(tmp_path: Path) -> None:
    statements = made(tmp_path, POLICY)["deployer-policy.json"]["Statement"]
    actions = [action for each in statements for action in each["Action"]]
    assert [action for action in actions if action.startswith("iam:")] == ["iam:PassRole"]
