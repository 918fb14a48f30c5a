"""Names of AWS and Google Cloud in trimtab.yaml: what cannot be one is refused, with the right form next to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import BeforeValidator

from trimtab.policy.values import Written


def _kind(words: str, pattern: str, example: str, hint: Callable[[str], str] = lambda text: "") -> tuple[object, ...]:
    """Return what marks a text of one kind. hint: the nearest right text for a wrong one, or none."""

    def check(value: object) -> object:
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            near = hint(value)
            near = near if near != value and re.fullmatch(pattern, near) else ""
            raise ValueError(
                f"'{value}' is no {words}; expected such as {example}" + (f". Did you mean '{near}'?" if near else "")
            )
        return value

    return BeforeValidator(check), Written(words, {"type": "string", "pattern": f"^(?:{pattern})$"})


def _aws_region(text: str) -> str:
    """Return a region for a zone in it, or for one without its hyphens."""
    match = re.fullmatch(r"([a-z]{2})[-_ ]?([a-z]+)[-_ ]?(\d)[a-z]?", text.strip().lower())
    return "-".join(match.groups()) if match else ""


def _gcp_region(text: str) -> str:
    match = re.fullmatch(r"([a-z]+)[-_ ]?([a-z]+)[-_ ]?(\d+)(-[a-z])?", text.strip().lower())
    return f"{match[1]}-{match[2]}{match[3]}" if match else ""


def _bucket(text: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", re.sub(r"^(s3|gs)://", "", text.strip().lower())).strip("-.")


ADDRESS = r"(?!\d+\.\d+\.\d+\.\d+$)(?!.*\.\.)"
BUCKET = rf"(?!xn--|sthree-|amzn-s3-demo-|.*(-s3alias|--ol-s3)$){ADDRESS}[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9]"
"""Rules of general purpose buckets of S3."""
GCS_BUCKET = rf"(?!goog|.*google){ADDRESS}[a-z0-9][a-z0-9._-]{{1,61}}[a-z0-9]"

AwsRegion = Annotated[
    str,
    *_kind(
        "region of AWS",
        r"[a-z]{2}(-gov|-iso[a-z]?)?-(north|south|east|west|central)(east|west)?-[1-9]",
        "eu-central-1",
        _aws_region,
    ),
]
Bucket = Annotated[str, *_kind("name of a bucket of S3", BUCKET, "flights-models", _bucket)]
Role = Annotated[
    str,
    *_kind(
        "role of IAM",
        r"(arn:aws[a-z-]*:iam::\d{12}:role/([\w+=,.@-]+/)*)?[\w+=,.@-]{1,64}",
        "flights-sagemaker, or its ARN",
    ),
]
Account = Annotated[str, *_kind("name of an environment variable", r"[A-Za-z_]\w*", "AWS_ACCOUNT_ID")]
SageMakerInstance = Annotated[
    str,
    *_kind(
        "instance type of SageMaker",
        r"ml\.[a-z][a-z0-9-]*\.(medium|\d*x?large|metal(-\d+xl)?)",
        "ml.m5.large",
        lambda text: f"ml.{text.strip().lower()}",
    ),
]
DatabaseInstance = Annotated[
    str,
    *_kind(
        "instance class of RDS",
        r"db\.[a-z][a-z0-9-]*\.(micro|small|medium|\d*x?large)",
        "db.t4g.small",
        lambda text: f"db.{text.strip().lower()}",
    ),
]
GcpProject = Annotated[
    str,
    *_kind(
        "id of a project of Google Cloud",
        r"(?!.*(google|ssl))[a-z][a-z0-9-]{4,28}[a-z0-9]",
        "flights-prod-4711",
        lambda text: re.sub(r"[^a-z0-9]+", "-", text.strip().lower()),
    ),
]
GcpRegion = Annotated[str, *_kind("region of Google Cloud", r"[a-z]+-[a-z]+[1-9]\d?", "europe-west3", _gcp_region)]
GcsBucket = Annotated[str, *_kind("name of a bucket of Cloud Storage", GCS_BUCKET, "flights-models", _bucket)]
ServiceAccount = Annotated[
    str,
    *_kind(
        "service account",
        r"[a-z][a-z0-9-]{4,28}[a-z0-9](@[a-z][a-z0-9-]{4,28}[a-z0-9]\.iam\.gserviceaccount\.com)?",
        "flights-vertex, or its address flights-vertex@PROJECT.iam.gserviceaccount.com",
    ),
]
DatabaseTier = Annotated[
    str,
    *_kind(
        "machine of Cloud SQL",
        r"db-(custom-\d+-\d+|f1-micro|g1-small|perf-optimized-N-\d+)",
        "db-custom-1-3840",
        lambda text: f"db-custom-{text.strip()}",
    ),
]
GcpMachine = Annotated[
    str,
    *_kind(
        "machine type of Google Cloud",
        r"[a-z]\d[a-z]?-[a-z]+-\d+[a-z]*(-lssd)?",
        "n1-standard-2",
    ),
]
