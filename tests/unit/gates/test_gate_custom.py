"""Gates that a project defines: answers, errors with their place, and what the policy says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import trimtab as tt
from trimtab.bundle.scorer import Scorer
from trimtab.definitions.own_gates import GateData
from trimtab.gates.custom import judge_custom
from trimtab.gates.inputs import GateInputs
from trimtab.gates.report import report_key
from trimtab.policy.gates import Custom, Gates

Make = Callable[..., GateInputs]


@tt.gate
def few_alarms(data: GateData) -> tt.Judgement:
    share = float((data.scores >= data.threshold).mean())
    return tt.Judgement(share <= 0.1, value=share, limit=0.1, message="share of alarms")


@tt.gate(columns=["carrier"])
def sees_columns(data: GateData) -> bool:
    return bool(data.frame["carrier"].nunique() > 5 and len(data.frame) == len(data.y))


@tt.gate
def broken(data: GateData) -> bool:
    return bool(data.frame["no_such_column"].any())


def judged(make: Make, *gates: Any, **policy: Any) -> list[Any]:
    return list(judge_custom(make(own_gates=gates), Custom(**policy)))


def test_the_reason_has_message_value_limit_and_place(make: Make) -> None:
    (result,) = judged(make, few_alarms)
    assert (result.gate, result.metric, result.verdict, result.threshold) == ("custom", "few_alarms", "fail", 0.1)
    assert result.value > 0.1
    assert result.reason.startswith("few_alarms (test_gate_custom.py:")
    assert "fails: share of alarms; value 0." in result.reason
    assert "limit 0.1" in result.reason


def test_the_frame_has_features_and_columns(make: Make) -> None:
    (result,) = judged(make, sees_columns)
    assert result.verdict == "pass"


def test_the_champion_scores_the_same_rows(make: Make, poor: Scorer) -> None:
    seen: list[Any] = []

    @tt.gate
    def looks(data: GateData) -> bool:
        seen.extend((data.champion_scores, data.champion_threshold))
        return True

    judge_custom(make(own_gates=(looks,), champion=poor, champion_threshold=0.4), Custom())
    assert np.array_equal(seen[0], poor.score(make().X))
    assert seen[1] == 0.4


def test_an_error_is_a_failure_that_names_file_and_line(make: Make) -> None:
    (result,) = judged(make, broken)
    assert result.verdict == "fail"
    line = broken.function.__code__.co_firstlineno + 2
    assert f"it could not judge: test_gate_custom.py:{line}: KeyError: 'no_such_column'" in result.reason


@pytest.mark.parametrize("answer", [None, 1.0, tt.Judgement(1), tt.Judgement(True, value=float("nan"))])  # type: ignore[arg-type]
def test_what_is_no_answer_fails(make: Make, answer: Any) -> None:
    @tt.gate
    def odd(data: GateData) -> Any:
        return answer

    (result,) = judged(make, odd)
    assert result.verdict == "fail"
    assert "it could not judge: test_gate_custom.py:" in result.reason


def test_the_policy_makes_a_failure_a_warning_or_leaves_a_gate_out(make: Make) -> None:
    assert [r.verdict for r in judged(make, few_alarms, broken, warn=["few_alarms"])] == ["warn", "fail"]
    assert [r.metric for r in judged(make, few_alarms, broken, left_out=["broken"])] == ["few_alarms"]


def test_a_changed_function_is_judged_again() -> None:
    def key(*own: Any, **gates: Any) -> str:
        return report_key(Gates(**gates), champion=None, own=own)

    assert key() == key(custom=None)
    assert key(few_alarms) != key()
    assert key(few_alarms) != key(broken)
    assert key(few_alarms) == key(few_alarms)


def test_wrong_definitions_are_refused() -> None:
    with pytest.raises(tt.TrimtabError, match=r"gate 'two' takes .*; expected 1 arguments: \(data\)"):

        @tt.gate  # type: ignore[arg-type]  # two arguments
        def two(data: Any, other: Any) -> bool:
            return True

    with pytest.raises(tt.TrimtabError, match=r"gate 'one': model is 'delay'; expected one made with Model"):

        @tt.gate(model="delay")  # type: ignore[call-overload,untyped-decorator]  # no model
        def one(data: Any) -> bool:
            return True
