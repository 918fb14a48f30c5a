"""The leakage gate: a feature that knows the label, a score too good, and what is acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest

from trimtab.bundle.typed_matrix import Schema, TypedMatrix, objects
from trimtab.definitions.models import Task
from trimtab.gates.inputs import GateInputs
from trimtab.gates.leakage import explained, judge_leakage
from trimtab.policy.gates import Leakage
from trimtab.records.gate_reports import GateResult

Make = Callable[..., GateInputs]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Known:
    """Scores that are given, row by row."""

    scores: Array
    task: Task
    in_process: bool = True

    def close(self) -> None:
        """Do nothing."""

    def score(self, X: Array) -> Array:
        return self.scores


def with_feature(inputs: GateInputs, make: Make, column: Array) -> GateInputs:
    X = inputs.X.copy()
    X[:, 1] = column
    return make(X=X)


def test_honest_features_and_scores_pass_with_their_figures(make: Make) -> None:
    single, score = judge_leakage(make(), Leakage())
    assert (single.gate, single.metric, single.verdict, score.verdict) == (
        "leakage", "roc_auc of one feature", "pass", "pass",
    )  # fmt: skip
    assert single.reason.startswith("the strongest single feature is 'dep_delay': roc_auc 0.8")
    assert 0.8 < single.value < 0.99
    assert score.value < 0.995


LEAKS: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "the label": lambda y, _: y,
    "its opposite": lambda y, _: 1 - y,
    "computed from it, not in order": lambda y, rng: np.where(y == 1, 0.0, rng.choice([-3.0, 3.0], len(y))),
    "null where it is 0": lambda y, rng: np.where(y == 1, rng.normal(size=len(y)), np.nan),
    "infinite where it is 1": lambda y, rng: np.where(y == 1, np.inf, rng.normal(size=len(y))),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_feature_that_is_the_label_or_made_from_it_fails(make: Make, leak: str) -> None:
    inputs = make()
    column = LEAKS[leak](inputs.y, np.random.default_rng(0))
    single = judge_leakage(with_feature(inputs, make, column), Leakage())[0]
    assert single.verdict == "fail"
    assert single.value > 0.999
    assert single.reason.startswith("'distance' alone explains the label: roc_auc 1.0000, limit 0.99.")
    assert "write into trimtab.yaml: gates.leakage.acknowledged: [distance]" in single.reason


def test_an_acknowledged_feature_passes_and_explains_the_score(make: Make) -> None:
    inputs = make()
    X = inputs.X.copy()
    X[:, 1] = inputs.y
    leaking = make(X=X, candidate=Known(inputs.y, "binary"))
    assert [r.verdict for r in judge_leakage(leaking, Leakage())] == ["fail", "fail"]
    found = judge_leakage(leaking, Leakage(acknowledged=["distance"]))
    assert [r.verdict for r in found] == ["pass", "pass"]
    assert found[1].reason.endswith("by features that are acknowledged: distance")


def test_a_score_too_good_fails_although_no_feature_explains_it_alone(make: Make) -> None:
    inputs = make()
    perfect = make(candidate=Known(inputs.y, "binary"))
    single, score = judge_leakage(perfect, Leakage())
    assert (single.verdict, score.verdict) == ("pass", "fail")
    assert "roc_auc 1.0000 on the holdout is too good to be true, limit 0.995" in score.reason
    assert [r.verdict for r in judge_leakage(perfect, Leakage(max_score=1))] == ["pass", "pass"]


@pytest.mark.parametrize("rows", [60, 4000])
@pytest.mark.parametrize("made", [lambda y: y, lambda y: 3 - 2 * y, np.exp, np.cbrt])
def test_a_regression_is_suspected_for_its_label_in_another_form(made: Callable[[Array], Array], rows: int) -> None:
    y = np.random.default_rng(1).normal(size=rows)
    assert explained(made(y).astype(np.float32), y, "regression") > 0.99


def test_a_regression_is_not_suspected_for_a_good_feature_or_for_time() -> None:
    rng = np.random.default_rng(2)
    hours = np.arange(3000)
    y = np.sin(hours / 24 * 2 * np.pi) + rng.normal(size=3000) * 0.3
    assert explained((y + rng.normal(size=3000) * 0.3).astype(np.float32), y, "regression") < 0.95
    assert explained(hours.astype(np.float32), y, "regression") < 0.5
    assert explained(np.full(3000, np.nan, np.float32), y, "regression") == 0.0


def test_a_regression_gate_judges_by_r2(make: Make) -> None:
    rng = np.random.default_rng(3)
    y = rng.gamma(2.0, 50.0, size=500)
    X = rng.normal(size=(500, 5)).astype(np.float32)
    times = np.arange(500).astype("datetime64[h]").astype("datetime64[us]")
    inputs = make(X=X, y=y, timestamps=times, groups={}, candidate=Known(y * 0.5, "regression"))
    single, score = judge_leakage(inputs, Leakage())
    assert [single.verdict, score.verdict] == ["pass", "pass"]
    X[:, 4] = np.sqrt(y)
    single, _ = judge_leakage(inputs, Leakage())
    assert single.verdict == "fail"
    assert single.reason.startswith("'carrier_code' alone explains the label: r2 or squared correlation 1.0000")


def test_few_rows_are_not_judged(make: Make) -> None:
    inputs = make()
    few = make(X=inputs.X[:15], y=inputs.y[:15], timestamps=inputs.timestamps[:15], groups={})
    (found,) = judge_leakage(few, Leakage())
    assert (found.verdict, found.reason) == (
        "pass",
        "not judged: 15 labelled rows in the holdout are too few, 20 are needed",
    )
    y = np.zeros(100)
    y[:3] = 1
    (found,) = judge_leakage(make(X=inputs.X[:100], y=y, timestamps=inputs.timestamps[:100], groups={}), Leakage())
    assert found.reason == "not judged: 3 rows of one class in the holdout are too few, 10 are needed"


def test_a_figure_that_is_not_defined_is_not_judged_and_its_record_can_be_read(make: Make) -> None:
    inputs = make()
    same = np.full(len(inputs.y), 3.0)
    alike = judge_leakage(make(y=same, candidate=Known(same, "regression")), Leakage())
    assert [found.reason for found in alike] == ["not judged: all labels of the holdout are 3"]
    lost = judge_leakage(make(candidate=Known(np.full(len(inputs.y), np.nan), "binary")), Leakage())
    assert lost[1].reason == "not judged: 0 rows with a score do not define roc_auc"
    for found in (*alike, *lost):
        assert msgspec.json.decode(msgspec.json.encode(found), type=GateResult) == found


@pytest.mark.parametrize("kind", ["text", "category"])
def test_a_leak_in_words_is_found(make: Make, kind: str) -> None:
    # given a remark that was written after the outcome was known, and a text that knows nothing
    y, rng = make().y, np.random.default_rng(0)
    names = {"text": ["case {}: closed in time", "case {}: paid back late"], "category": ["c{}", "d{}"]}[kind]
    leaks = objects([names[int(late)].format(number % 40) for number, late in enumerate(y)])
    blind = objects([names[side].format(number % 40) for number, side in enumerate(rng.integers(0, 2, len(y)))])
    schema = Schema.known(
        ("remark", "other"), {"remark": kind, "other": kind}, _known(kind, leaks, blind), "frame", "other"
    )
    assert schema is not None
    X = TypedMatrix.of(schema, {"remark": leaks, "other": blind})

    # when a model that does not look at it is judged
    inputs = make(Known(np.full(len(y), 0.5), "binary"), X=X, feature_names=("remark", "other"))
    single, _ = judge_leakage(inputs, Leakage())

    # then the remark alone is suspected
    assert single.verdict == "fail"
    assert single.reason.startswith("'remark' alone explains the label")
    assert single.details["features"]["other"] < 0.7


def _known(kind: str, *columns: Any) -> dict[str, tuple[str, ...]]:
    found = zip(("remark", "other"), columns, strict=True)
    return {name: tuple(sorted(set(values))) for name, values in found} if kind == "category" else {}
