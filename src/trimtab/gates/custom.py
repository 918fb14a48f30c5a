"""The gates that the project defines: each function's answer, or its error, as a result."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.bundle.typed_matrix import TypedMatrix
from trimtab.definitions.own_gates import GateData, Judgement, OwnGate
from trimtab.gates.inputs import GateInputs
from trimtab.places import of_error, of_function
from trimtab.policy.gates import Custom
from trimtab.records.gate_reports import GateResult


def judge_custom(inputs: GateInputs, policy: Custom) -> tuple[GateResult, ...]:
    """Ask each gate of the project that the policy does not leave out."""
    asked = [gate for gate in inputs.own_gates if gate.name not in policy.left_out]
    data = _data(inputs) if asked else None
    return tuple(_asked(gate, data, warn=gate.name in policy.warn) for gate in asked if data is not None)


def _data(inputs: GateInputs) -> GateData:
    # projects write their gates with pandas
    import pandas as pd

    X = inputs.X
    frame = X.frame() if isinstance(X, TypedMatrix) else pd.DataFrame(np.asarray(X), columns=list(inputs.feature_names))
    for name, values in inputs.groups.items():
        if name not in frame.columns:
            frame[name] = values
    return GateData(
        model=inputs.candidate,
        task=inputs.task,
        scores=inputs.scores.copy(),
        y=inputs.y.copy(),
        X=X,
        frame=frame,
        timestamps=inputs.timestamps.copy(),
        threshold=inputs.threshold,
        classes=inputs.classes,
        champion_scores=None if inputs.champion_scores is None else inputs.champion_scores.copy(),
        champion_threshold=None if inputs.champion_scores is None else inputs.thresholds[1],
    )


def _asked(gate: OwnGate, data: GateData, *, warn: bool) -> GateResult:
    place = of_function(gate.function)
    try:
        answer = _read(gate.function(data))
    except (Exception, SystemExit) as error:  # the project's own code: its error is a failure of the gate
        folder = Path(gate.function.__code__.co_filename).parent
        found = of_error(error, folder)
        where = place if found is None else f"{found[0].name}:{found[1]}"
        answer = Judgement(False, message=f"it could not judge: {where}: {type(error).__name__}: {error}")
    words = f"{gate.name} ({place}) {'passes' if answer.passed else 'fails'}"
    numbers = [
        f"{name} {number:.6g}"
        for name, number in (("value", answer.value), ("limit", answer.limit))
        if number is not None
    ]
    said = "; ".join(part for part in (answer.message, ", ".join(numbers)) if part)
    return GateResult(
        gate=Custom.GATE,
        metric=gate.name,
        verdict="pass" if answer.passed else "warn" if warn else "fail",
        value=float(answer.passed) if answer.value is None else answer.value,
        low=None,
        high=None,
        threshold=answer.limit,
        reason=f"{words}: {said}" if said else words,
        details={"place": place},
    )


def _read(answer: Any) -> Judgement:
    """Return what a gate says. Raises TypeError and ValueError for what is no answer."""
    if isinstance(answer, bool | np.bool_):
        return Judgement(bool(answer))
    if not isinstance(answer, Judgement):
        raise TypeError(f"it returns {answer!r}; expected tt.Judgement(passed, value=..., limit=..., message=...)")
    if not isinstance(answer.passed, bool | np.bool_):
        raise TypeError(f"passed is {answer.passed!r}; expected True or False")
    numbers = {"value": answer.value, "limit": answer.limit}
    known = {name: None if number is None else float(number) for name, number in numbers.items()}
    for name, number in known.items():
        if number is not None and not math.isfinite(number):
            raise ValueError(f"{name} is {number}; expected a number, or None")
    return Judgement(bool(answer.passed), known["value"], known["limit"], str(answer.message))
