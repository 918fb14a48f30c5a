"""All gates of a policy, and the report that follows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest

from trimtab.bundle.scorer import Scorer
from trimtab.clock import ManualClock
from trimtab.errors import GateRefused, StageError
from trimtab.gates.inputs import GateInputs
from trimtab.gates.report import refuse, report, report_key
from trimtab.gates.table import GATES, evaluate
from trimtab.policy.gates import Gates
from trimtab.policy.tree import below
from trimtab.records.gate_reports import GateReport, GateResult
from trimtab.records.record import Verdict

Make = Callable[..., GateInputs]

CLOCK = ManualClock(datetime(2014, 1, 1, tzinfo=UTC))


def gates(**keys: object) -> Gates:
    return Gates.model_validate({"performance": None, "leakage": None, **keys})


def result(verdict: Verdict, gate: str = "accuracy", reason: str = "0.01 under the minimum") -> GateResult:
    return GateResult(
        gate=gate, metric="roc_auc", verdict=verdict, value=0.5, low=None, high=None, threshold=None, reason=reason
    )


def test_gates_run_in_the_order_of_the_policy_and_only_when_asked(make: Make, poor: Scorer) -> None:
    policy = gates(
        accuracy={"metric": "roc_auc", "resamples": 100, "not_worse_than_champion_by": 0.01},
        bias={"sensitive": ["carrier"], "max": 1.0},
        leakage={},
        robustness={"missing": "5%", "noise": "0.1sd", "max_drop": 0.5},
    )
    found = evaluate(make(champion=poor), policy)
    assert [r.gate for r in found] == ["accuracy", "accuracy", "leakage", "leakage", "bias", "robustness"]
    assert evaluate(make(), gates(accuracy=None)) == ()


def test_the_table_has_a_row_for_each_section_of_the_policy_in_its_order() -> None:
    rows = {gate.section.GATE: gate.section for gate in GATES}
    assert list(rows.items()) == [(name, below(field.annotation)[0]) for name, field in Gates.model_fields.items()]


def test_results_survive_being_written_as_json(make: Make) -> None:
    policy = gates(accuracy={"resamples": 100}, bias={"sensitive": ["carrier"], "max": 1.0}, robustness={"noise": 0})
    made = report(evaluate(make(), policy), model="delay", run="r1", champion=None, clock=CLOCK, key="k")
    assert msgspec.json.decode(msgspec.json.encode(made), type=GateReport) == made


def test_the_robustness_metric_defaults_to_the_accuracy_metric(make: Make) -> None:
    policy = gates(accuracy={"metric": "brier", "resamples": 100}, robustness={"noise": 0})
    assert evaluate(make(), policy)[1].metric == "brier rise"
    assert evaluate(make(), gates(accuracy=None, robustness={"noise": 0}))[0].metric == "roc_auc drop"


def test_a_metric_of_another_task_is_refused(make: Make) -> None:
    with pytest.raises(StageError, match=r"gates.accuracy.metric: 'rmse' does not fit .* binary; expected roc_auc"):
        evaluate(make(), gates(accuracy={"metric": "rmse"}))
    with pytest.raises(StageError, match=r"gates.bias.metric: 'mae_ratio' does not fit .*; expected demographic"):
        evaluate(make(), gates(bias={"sensitive": ["carrier"], "metric": "mae_ratio", "min": 0.5}))


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [((), "pass"), (("pass", "pass"), "pass"), (("pass", "warn"), "warn"), (("fail", "warn"), "fail")],
)
def test_the_worst_verdict_counts(verdicts: tuple[Verdict, ...], expected: Verdict) -> None:
    made = report([result(v) for v in verdicts], model="delay", run="r1", champion=None, clock=CLOCK, key="k")
    assert made.verdict == expected
    assert (made.id, made.key) == ("r1/gates/k", "k")
    again = report([], model="delay", run="r1", champion=None, clock=CLOCK, key="k", again=1)
    assert again.id == "r1/gates/k/2"


def test_the_key_of_a_report_follows_what_its_verdicts_depend_on() -> None:
    usual = report_key(gates(), champion=None)
    others = [
        report_key(gates(accuracy={"min": 0.6}), champion=None),
        report_key(gates(accuracy={"metric": "brier"}, robustness={}), champion=None),
        report_key(gates(accuracy=None), champion=None),
        report_key(gates(bias={"sensitive": ["a"], "max": 0.1}), champion=None),
        report_key(gates(), champion="delay/3"),
        report_key(gates(), champion=None, trust=["pyfunc"]),
        report_key(gates(), champion=None, measured=False),
        report_key(gates(), champion=None, release="2"),
    ]
    assert report_key(gates(), champion=None) == usual
    assert len({usual, *others}) == 9


def test_a_refusal_has_one_line_per_failing_gate() -> None:
    made = report(
        [result("fail"), result("pass", "bias"), result("fail", "robustness", "drops by 0.1")],
        model="delay",
        run="r1",
        champion=None,
        clock=CLOCK,
        key="k",
    )
    with pytest.raises(GateRefused) as refused:
        refuse(made)
    assert str(refused.value).splitlines() == [
        "model 'delay' was refused by 2 of 3 gate checks:",
        "  accuracy: 0.01 under the minimum",
        "  robustness: drops by 0.1",
    ]
    refuse(report([result("warn")], model="delay", run="r1", champion=None, clock=CLOCK, key="k"))
