"""The slices gate: declared slices, the worst that a search finds, and how rarely chance alone is taken for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trimtab.bundle.typed_matrix import Schema, TypedMatrix, objects
from trimtab.errors import DataError
from trimtab.gates.inputs import GateInputs
from trimtab.gates.row_segments import segments_of
from trimtab.gates.slices import judge_slices
from trimtab.policy.gates import Slices
from trimtab.stats.metrics import metric_value
from unit.gates.lookup import table_scorer

Make = Callable[..., GateInputs]
ROWS, DAYS = 4000, 40


def policy(**keys: Any) -> Slices:
    return Slices.model_validate({"metric": "accuracy", "max_drop": 0.05, "search": "none", **keys})


def made(make: Make, wrong: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]], **changed: Any) -> GateInputs:
    """Return inputs with a region of four, a number, and a share of wrong answers a row by `wrong(region)`."""
    rng = np.random.default_rng(7)
    region = rng.integers(0, 4, ROWS)
    y = rng.integers(0, 2, ROWS).astype(np.float64)
    said = np.where(rng.random(ROWS) < wrong(region), 1 - y, y)
    X = np.column_stack([np.arange(ROWS), rng.normal(size=ROWS)]).astype(np.float32)
    times = np.datetime64("2026-01-01", "us") + np.arange(ROWS) * np.timedelta64(DAYS * 86_400_000_000 // ROWS, "us")
    names = np.array(["north", "south", "east", "west"])[region]
    usual: dict[str, Any] = {
        "X": X,
        "y": y,
        "timestamps": times,
        "feature_names": ("row", "noise"),
        "candidate": _ByRow(table_scorer(said)),
        "groups": {"region": names, "day": np.where(region > 1, "odd", "even")},
        "threshold": 0.5,
    }
    return make(**{**usual, **changed})


def test_slices_of_personal_data_have_numbers_for_values(make: Make) -> None:
    inputs = made(make, lambda region: np.where(region == 2, 0.4, 0.1), personal=frozenset(["region", "noise"]))
    results = judge_slices(inputs, policy(by=["region", "noise", "day"], search="pairs", min_rows=100))
    shown = " ".join(f"{each.reason} {each.details}" for each in results)
    assert "region = *** " in shown
    assert "noise = *** " in shown
    assert "day = " in shown
    assert not [name for name in ("north", "south", "east", "west", "noise <", "noise >", "noise -0") if name in shown]


class _ByRow:
    """Asks a lookup model by the first feature alone."""

    task = "binary"

    def __init__(self, scorer: Any) -> None:
        self.scorer = scorer

    def score(self, X: Any) -> Any:
        return self.scorer.score(np.ascontiguousarray(X[:, :1]))


def alike(region: Any) -> Any:
    return np.full(len(region), 0.1)


def east_fails(region: Any) -> Any:
    return np.where(region == 2, 0.4, 0.1)


def test_a_declared_slice_that_fails_is_named(make: Make) -> None:
    inputs = made(make, east_fails)
    (result,) = judge_slices(inputs, policy(by=["region"]))
    assert result.verdict == "fail"
    assert result.reason.startswith("region = east (")
    rows = inputs.groups["region"] == "east"
    overall = metric_value("accuracy", inputs.y, inputs.scores)
    assert result.value == pytest.approx(overall - metric_value("accuracy", inputs.y[rows], inputs.scores[rows]))
    assert result.low is not None
    assert result.high is not None
    assert result.low < result.value < result.high


def test_slices_alike_pass(make: Make) -> None:
    (result,) = judge_slices(made(make, alike), policy(by=["region"]))
    assert result.verdict == "pass", result.reason


def test_a_drop_within_the_limit_whose_interval_is_not_fails(make: Make) -> None:
    inputs = made(make, east_fails)
    (sure,) = judge_slices(inputs, policy(by=["region"], max_drop=0.5))
    (result,) = judge_slices(inputs, policy(by=["region"], max_drop=sure.value + 0.01))
    assert (sure.verdict, result.verdict) == ("pass", "fail")


def test_the_interval_of_a_slice_is_wider_where_more_are_looked_at(make: Make) -> None:
    # given one slice among four that are declared, and among all that a search looks at
    declared, found = judge_slices(made(make, east_fails), policy(by=["region"], search="single", max_drop=0.5))
    assert declared.details["searched"] == 4
    assert found.details["searched"] > 8
    widths = []
    for result in (declared, found):
        (east,) = [each for each in result.details["slices"] if each["slice"] == "region = east"]
        widths.append(east["high"] - east["low"])
    assert widths[1] > 1.05 * widths[0]


def test_the_search_finds_the_slice_that_nothing_declares(make: Make) -> None:
    (result,) = judge_slices(made(make, east_fails), policy(search="single"))
    assert result.verdict == "fail"
    assert result.reason.startswith("region = east (")


def test_the_search_crosses_columns(make: Make) -> None:
    # given mistakes where two columns meet
    rng = np.random.default_rng(1)
    shift = rng.integers(0, 3, ROWS)
    inputs = made(make, alike)
    meets = (inputs.groups["region"] == "east") & (shift == 1)
    y = np.where(meets & (rng.random(ROWS) < 0.6), 1 - inputs.y, inputs.y)
    crossed = made(make, alike, y=y, groups={**inputs.groups, "shift": shift.astype(str)})
    (result,) = judge_slices(crossed, policy(search="pairs", min_rows=100))
    assert result.verdict == "fail"
    assert result.reason.startswith("region = east, shift = 1 (")


def test_chance_alone_is_seldom_found(make: Make) -> None:
    failed = 0
    for seed in range(20):
        noise = np.random.default_rng(seed).integers(0, 20, ROWS).astype(str)
        inputs = made(make, alike, groups={"noise_group": noise})
        (result,) = judge_slices(inputs, policy(search="single", min_rows=50, max_drop=0.0))
        failed += result.verdict == "fail"
    assert failed <= 3


def test_a_column_without_slices_to_judge_fails_or_warns(make: Make) -> None:
    inputs = made(make, alike)
    (result,) = judge_slices(inputs, policy(by=["region"], min_rows=ROWS))
    assert result.verdict == "fail"
    assert "none of its 4 slices has 4000 rows" in result.reason
    (warned,) = judge_slices(inputs, policy(by=["region"], min_rows=ROWS, when_not_judged="warn"))
    assert warned.verdict == "warn"


def test_an_unknown_column_names_the_nearest(make: Make) -> None:
    with pytest.raises(DataError, match=r"gates.slices.by: the training set has no column 'regoin'.*'region'"):
        judge_slices(made(make, alike), policy(by=["regoin"]))


def test_numbers_are_cut_and_missing_values_are_a_segment(make: Make) -> None:
    inputs = made(make, alike)
    inputs.X[:100, 1] = np.nan
    found = segments_of(inputs, ("noise",), "gates.slices.by")
    sizes = np.bincount(found.place, minlength=len(found.names))
    assert found.names[-1] == "noise missing"
    assert sizes[-1] == 100
    assert len(found.names) == 5
    assert sizes[:-1].max() - sizes[:-1].min() <= 1


def test_categories_have_their_names(make: Make) -> None:
    schema = Schema.known(("carrier",), {"carrier": "category"}, {"carrier": ("AA", "UA")}, "frame", "other")
    assert schema is not None
    X = TypedMatrix.of(schema, {"carrier": objects(["UA", "AA", None, "ZZ"])})
    inputs = make(X=X, y=np.zeros(4), feature_names=("carrier",), groups={})
    found = segments_of(inputs, ("carrier",), "gates.slices.by")
    assert [found.names[place] for place in found.place] == [
        "carrier = UA",
        "carrier = AA",
        "carrier = missing",
        "carrier = ZZ",
    ]


def test_a_regression_is_judged_by_a_share_of_its_error(make: Make) -> None:
    inputs = made(make, alike)
    rng = np.random.default_rng(3)
    error = rng.normal(size=ROWS) * np.where(inputs.groups["region"] == "west", 3.0, 1.0)
    scorer = _ByRow(table_scorer(inputs.y + error, "regression"))
    scorer.task = "regression"
    found = judge_slices(
        made(make, alike, candidate=scorer),
        Slices.model_validate({"by": ["region"], "metric": "rmse", "search": "single"}),
    )
    assert [result.verdict for result in found] == ["fail", "fail"]
    assert all(result.reason.startswith("region = west") for result in found)
