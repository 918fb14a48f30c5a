"""The policy of a project, trimtab.yaml: what reviewers and auditors read."""

from trimtab.policy.gates import Accuracy, Bias, Gates, Leakage, Performance, Robustness
from trimtab.policy.matrix import Band, Matrix
from trimtab.policy.model import (
    Checks,
    Decide,
    Environment,
    Impact,
    Policy,
    Prices,
    PromoteWhen,
    RollbackWhen,
    Rollout,
    Serving,
    TableCheck,
    Training,
)
from trimtab.policy.reader import line_of, parse_policy, read_policy
from trimtab.policy.reference import json_schema

__all__ = [
    "Accuracy",
    "Band",
    "Bias",
    "Checks",
    "Decide",
    "Environment",
    "Gates",
    "Impact",
    "Leakage",
    "Matrix",
    "Performance",
    "Policy",
    "Prices",
    "PromoteWhen",
    "Robustness",
    "RollbackWhen",
    "Rollout",
    "Serving",
    "TableCheck",
    "Training",
    "json_schema",
    "line_of",
    "parse_policy",
    "read_policy",
]
