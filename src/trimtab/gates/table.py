"""The gates in their order, and the evaluation of a run by those that the policy has.

A gate is one row here, one section in `policy/gates.py`, and one file that judges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from trimtab.errors import StageError
from trimtab.gates.accuracy import judge_accuracy
from trimtab.gates.bias import judge_bias
from trimtab.gates.calibration_error import judge_calibration
from trimtab.gates.custom import judge_custom
from trimtab.gates.inputs import GateInputs
from trimtab.gates.leakage import judge_leakage
from trimtab.gates.performance import judge_performance
from trimtab.gates.robustness import judge_robustness
from trimtab.gates.slices import judge_slices
from trimtab.gates.stability import judge_stability
from trimtab.policy.gates import (
    Accuracy,
    Bias,
    Calibration,
    Custom,
    Gates,
    GateSection,
    Leakage,
    Performance,
    Robustness,
    Slices,
    Stability,
)
from trimtab.records.gate_reports import GateResult

S = TypeVar("S", bound=GateSection)


@dataclass(frozen=True)
class Gate(Generic[S]):
    """One gate. It runs when the policy has its section."""

    section: type[S]
    judge: Callable[[GateInputs, S], tuple[GateResult, ...]]
    """Returns one result or several."""
    needs_labels: bool = True
    """Whether it judges by labels; without them it warns that it does not judge."""
    of_the_machine: tuple[str, ...] = ()
    """Metrics that differ from machine to machine; where models of the past are made again, they refuse no run."""


GATES: tuple[Gate[Any], ...] = (
    Gate(Accuracy, judge_accuracy),
    Gate(Leakage, judge_leakage),
    Gate(Bias, judge_bias, needs_labels=False),
    Gate(Slices, judge_slices),
    Gate(Stability, judge_stability),
    Gate(Robustness, judge_robustness, needs_labels=False),
    Gate(Calibration, judge_calibration, needs_labels=False),
    Gate(
        Performance,
        judge_performance,
        needs_labels=False,
        of_the_machine=("p99_ms", "memory_mb", "cold_start_s", "cost_per_1000"),
    ),
    Gate(Custom, judge_custom, needs_labels=False),
)
OF_THE_MACHINE = frozenset((gate.section.GATE, metric) for gate in GATES for metric in gate.of_the_machine)
"""(gate, metric) of each result that differs from machine to machine."""


def evaluate(inputs: GateInputs, policy: Gates) -> tuple[GateResult, ...]:
    """Return the results of all gates that the policy has.

    Raises StageError when a value of the policy does not fit the model's task, DataError when a sensitive column is
    missing.
    """
    sections = policy.sections()
    for name, section in sections.items():
        for key, value, expected in section.misfits(inputs.task):
            raise StageError(
                f"gates.{name}.{key}: '{value}' does not fit a model whose task is {inputs.task}; "
                f"expected {', '.join(expected)}"
            )
    asked_for = [(gate, sections[gate.section.GATE]) for gate in GATES if gate.section.GATE in sections]
    return tuple(
        result
        for gate, section in asked_for
        for result in (gate.judge(inputs, section) if inputs.labelled or not gate.needs_labels else _unlabelled(gate))
    )


def _unlabelled(gate: Gate[Any]) -> tuple[GateResult, ...]:
    words = "not judged: the holdout has no rows that are labelled as anomalies, or none that are labelled as usual"
    result = GateResult(
        gate=gate.section.GATE,
        metric="labels",
        verdict="warn",
        value=0.0,
        low=None,
        high=None,
        threshold=None,
        reason=words,
        details={},
    )
    return (result,)
