"""Files for Amazon SageMaker: pipelines that train and register, endpoints with variants, roles, and deploy.py. Pure.

The JSON files are bodies of requests of boto3. `${ACCOUNT}`, `${IMAGE_TAG}`, `${ARCHIVE}` and `${MODEL}` stand for what
deploy.py puts in.
"""

from __future__ import annotations

import json
from typing import Any

from trimtab import units
from trimtab.definitions.models import Model
from trimtab.metric_catalog import BY_TASK
from trimtab.targets.clouds.cloud_places import (
    ACCOUNT,
    TAG,
    AwsPlace,
    aws_place,
    channel_sources,
    models_of,
    remote_folders,
    resource_name,
)
from trimtab.targets.filled_templates import filled
from trimtab.targets.project_facts import Facts

FOLDER = "deploy/sagemaker"
TARGET = "sagemaker"
LONGEST_NAME = 40
"""Of an endpoint SageMaker takes 63 characters; names of models and configurations have a digest in addition."""
DEFAULT_SECONDS = 24 * 3600
"""Longest training without `retrain.timeout`; the service's own default."""
LONGEST_SECONDS = 28 * 24 * 3600
TYPES = ["text/csv", "application/json", "application/jsonlines"]


def files(facts: Facts) -> dict[str, str]:
    """Return the text of each file by its path in the project.

    Raises PolicyError without deploy.aws.region and for names that are too long; DefinitionError without a model.
    """
    place = aws_place(facts, TARGET)
    models = models_of(facts, TARGET)
    names = {model.name: resource_name(facts, model.name, longest=LONGEST_NAME) for model in models}
    settings = {
        "project": facts.slug,
        "region": place.region,
        "account_env": facts.policy.deploy.aws.account_env,
        "bucket": place.bucket,
        "role": place.role,
        "models": names,
    }
    found: dict[str, Any] = {
        "settings.json": settings,
        "role-trust.json": trust(),
        "role-policy.json": role_policy(facts, place),
        "deployer-policy.json": deployer_policy(facts, place),
    }
    for model in models:
        found[f"{model.name}/endpoint.json"] = endpoint(facts, place)
        found[f"{model.name}/pipeline.json"] = pipeline(facts, place, model, names[model.name])
    texts = {f"{FOLDER}/{name}": json.dumps(value, indent=2) + "\n" for name, value in found.items()}
    return {f"{FOLDER}/deploy.py": filled("sagemaker_deploy", PROJECT=facts.policy.project), **texts}


def endpoint(facts: Facts, place: AwsPlace) -> dict[str, Any]:
    """Return the requests of an endpoint: a model, and a configuration with the variants that the strategy can have."""
    aws, rollout = facts.policy.deploy.aws, facts.policy.rollout
    variant = {
        "ModelName": "${MODEL}",
        "InstanceType": aws.endpoint_instance,
        "InitialInstanceCount": aws.endpoint_instances,
        "ContainerStartupHealthCheckTimeoutInSeconds": 600,
    }
    shares = {"champion": rollout.split.get("champion", 0.0), "challenger": rollout.split.get("challenger", 0.0)}
    if rollout.strategy == "canary":
        first = 100 * rollout.canary.steps[0]
        shares = {"champion": 100 - first, "challenger": first}
    return {
        "Model": {
            "ExecutionRoleArn": place.role,
            "PrimaryContainer": {
                "Image": f"{place.registry}-gateway:{TAG}",
                "ModelDataUrl": "${ARCHIVE}",
                "Environment": {"TRIMTAB_CONTAINER": TARGET},
            },
        },
        "EndpointConfig": {
            "ProductionVariants": [
                {"VariantName": role, **variant, "InitialVariantWeight": share} for role, share in shares.items()
            ],
            "ShadowProductionVariants": [{"VariantName": "shadow", **variant, "InitialVariantWeight": 1.0}],
        },
    }


def pipeline(facts: Facts, place: AwsPlace, model: Model, name: str) -> dict[str, Any]:
    """Return the definition of a pipeline: train and judge in one job, then register what passed its gates."""
    aws, timeout = facts.policy.deploy.aws, facts.policy.retrain.timeout
    seconds = DEFAULT_SECONDS if timeout is None else min(max(1, timeout // units.MICROS["s"]), LONGEST_SECONDS)
    sources = [each.name for each in channel_sources(facts, model)]
    metrics = ["passed", BY_TASK[model.task].promotion]
    train = {
        "AlgorithmSpecification": {
            "TrainingImage": f"{place.registry}-training:{TAG}",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["trimtab"],
            "ContainerArguments": ["train"],
            "MetricDefinitions": [
                {"Name": f"trimtab_{each}", "Regex": f"trimtab_{each}=([-+0-9.e]+);"} for each in dict.fromkeys(metrics)
            ],
        },
        "RoleArn": place.role,
        "HyperParameters": {
            "trimtab_model": model.name,
            "trimtab_gates": "record",
            "trimtab_as_of": {"Get": "Parameters.AsOf"},
        },
        "Environment": {"TRIMTAB_CONTAINER": TARGET},
        "InputDataConfig": [
            _channel(each, {"Std:Join": {"On": "/", "Values": [{"Get": "Parameters.Data"}, each]}}) for each in sources
        ],
        "OutputDataConfig": {"S3OutputPath": f"s3://{place.bucket}/jobs/{name}"},
        "ResourceConfig": {
            "InstanceCount": 1,
            "InstanceType": {"Get": "Parameters.InstanceType"},
            "VolumeSizeInGB": -(-aws.training_disk // 10**9),
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": seconds},
    }
    register = {
        "ModelPackageGroupName": name,
        "ModelPackageDescription": f"Model {model.name} of {facts.policy.project}; it has passed its gates.",
        "InferenceSpecification": {
            "Containers": [
                {
                    "Image": f"{place.registry}-gateway:{TAG}",
                    "ModelDataUrl": {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"},
                    "Environment": {"TRIMTAB_CONTAINER": TARGET},
                }
            ],
            "SupportedContentTypes": TYPES,
            "SupportedResponseMIMETypes": TYPES,
            "SupportedRealtimeInferenceInstanceTypes": [aws.endpoint_instance],
            "SupportedTransformInstanceTypes": [aws.endpoint_instance],
        },
        "ModelApprovalStatus": {"Get": "Parameters.ModelApprovalStatus"},
    }
    passed = {"Get": "Steps.Train.FinalMetricDataList['trimtab_passed'].Value"}
    gates = {
        "Conditions": [{"Type": "GreaterThanOrEqualTo", "LeftValue": passed, "RightValue": 1}],
        "IfSteps": [{"Name": "Register", "Type": "RegisterModel", "Arguments": register}],
        "ElseSteps": [
            {
                "Name": "Refused",
                "Type": "Fail",
                "Arguments": {
                    "ErrorMessage": f"A gate refused model {model.name}: gates.md in the output of Train says why."
                },
            }
        ],
    }
    return {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": [
            _parameter("Data", f"s3://{place.bucket}/data"),
            _parameter("AsOf", ""),
            _parameter("InstanceType", aws.training_instance),
            _parameter("ModelApprovalStatus", "PendingManualApproval"),
        ],
        "Steps": [
            {"Name": "Train", "Type": "Training", "Arguments": train},
            {"Name": "Gates", "Type": "Condition", "Arguments": gates},
        ],
    }


def trust() -> dict[str, Any]:
    """Return who may take on the role: SageMaker, for this account alone."""
    return _policy(
        {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
        }
    )


def role_policy(facts: Facts, place: AwsPlace) -> dict[str, Any]:
    """Return the rights of trainings, endpoints and pipelines: the project's bucket, images, logs and jobs."""
    bucket = f"arn:{place.partition}:s3:::{place.bucket}"
    own = f"arn:{place.partition}:sagemaker:{place.region}:{ACCOUNT}"
    logs = f"arn:{place.partition}:logs:{place.region}:{ACCOUNT}:log-group:/aws/sagemaker/*"
    read = [f"{bucket}/{each}/*" for each in ("bundles", "data", "jobs")]
    remote = remote_folders(facts, "s3")
    read += [f"arn:{place.partition}:s3:::{each}*" for each in remote]
    buckets = [bucket, *(f"arn:{place.partition}:s3:::{each.partition('/')[0]}" for each in remote)]
    return _policy(
        _allow(["s3:GetObject"], read),
        _allow(["s3:PutObject"], [f"{bucket}/jobs/*"]),
        _allow(["s3:ListBucket"], list(dict.fromkeys(buckets))),
        _allow(
            ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            [
                f"arn:{place.partition}:ecr:{place.region}:{ACCOUNT}:repository/{place.repository}-{part}"
                for part in ("gateway", "training")
            ],
        ),
        _allow(["ecr:GetAuthorizationToken"], ["*"]),  # it takes no resource
        _allow(
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
            [logs, f"{logs}:log-stream:*"],
        ),
        {
            **_allow(["cloudwatch:PutMetricData"], ["*"]),  # it takes no resource
            "Condition": {"StringLike": {"cloudwatch:namespace": ["AWS/SageMaker", "/aws/sagemaker/*"]}},
        },
        _allow(
            [
                f"sagemaker:{verb}"
                for verb in ("CreateTrainingJob", "DescribeTrainingJob", "StopTrainingJob", "AddTags")
            ],
            [f"{own}:training-job/pipelines-*"],
        ),
        _allow(
            ["sagemaker:CreateModelPackage", "sagemaker:DescribeModelPackage"],
            [f"{own}:model-package-group/{facts.slug}-*", f"{own}:model-package/{facts.slug}-*"],
        ),
        _pass_role(place),
    )


def deployer_policy(facts: Facts, place: AwsPlace) -> dict[str, Any]:
    """Return the rights of the person or the CI server that runs deploy.py for endpoints and pipelines."""
    own = f"arn:{place.partition}:sagemaker:{place.region}:{ACCOUNT}"
    bucket = f"arn:{place.partition}:s3:::{place.bucket}"
    kinds = ("model", "endpoint-config", "endpoint", "pipeline", "model-package-group")
    verbs = [
        *("CreateModel", "DescribeModel", "CreateEndpointConfig", "DescribeEndpointConfig", "CreateEndpoint"),
        *("DescribeEndpoint", "UpdateEndpoint", "UpdateEndpointWeightsAndCapacities", "CreateModelPackageGroup"),
        *(
            "DescribeModelPackageGroup",
            "CreatePipeline",
            "DescribePipeline",
            "UpdatePipeline",
            "StartPipelineExecution",
        ),
        "AddTags",
    ]
    return _policy(
        _allow([f"sagemaker:{verb}" for verb in verbs], [f"{own}:{kind}/{facts.slug}-*" for kind in kinds]),
        _allow(["s3:GetObject", "s3:PutObject"], [f"{bucket}/{each}/*" for each in ("bundles", "data")]),
        _allow(["s3:ListBucket"], [bucket]),
        _pass_role(place),
    )


def _channel(name: str, uri: object) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": "File"}


def _parameter(name: str, default: str) -> dict[str, Any]:
    return {"Name": name, "Type": "String", "DefaultValue": default}


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def _pass_role(place: AwsPlace) -> dict[str, Any]:
    allowed = _allow(["iam:PassRole"], [place.role])
    return {**allowed, "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}}
