"""Runs the gates that the policy asks for, in order. Called by app/stages."""

from __future__ import annotations

from trimtab.errors import StageError
from trimtab.gates.accuracy import judge_accuracy
from trimtab.gates.bias import judge_bias
from trimtab.gates.inputs import GateInputs
from trimtab.gates.leakage import judge_leakage
from trimtab.gates.performance import judge_performance
from trimtab.gates.robustness import judge_robustness
from trimtab.metric_catalog import METRICS, fitting
from trimtab.policy.gates import Gates
from trimtab.records.gate_reports import GateResult


def evaluate(inputs: GateInputs, policy: Gates) -> tuple[GateResult, ...]:
    """Return the results of all gates in the policy; one gate may give several.

    Raises StageError when a metric does not fit the model's task, DataError when a sensitive column is missing.
    """
    results: list[GateResult] = []
    if policy.accuracy is not None:
        _expect_fit("gates.accuracy.metric", policy.accuracy.metric_for(inputs.task), inputs)
        results += judge_accuracy(inputs, policy.accuracy)
    if policy.leakage is not None:
        results += judge_leakage(inputs, policy.leakage)
    if policy.bias is not None:
        results += judge_bias(inputs, policy.bias)
    if policy.robustness is not None:
        metric = policy.robustness.metric_for(inputs.task, policy.accuracy)
        _expect_fit("gates.robustness.metric", metric, inputs)
        results += judge_robustness(inputs, policy.robustness, metric)
    if policy.performance is not None:
        results += judge_performance(inputs, policy.performance)
    return tuple(results)


def _expect_fit(key: str, metric: str, inputs: GateInputs) -> None:
    if METRICS[metric].task != inputs.task:
        expected = ", ".join(fitting(inputs.task))
        raise StageError(f"{key}: '{metric}' does not fit a model whose task is {inputs.task}; expected {expected}")
