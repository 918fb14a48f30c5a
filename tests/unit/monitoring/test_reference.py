"""The reference: what is in the bundle, byte for byte, and what money and losses it expects."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from trimtab.definitions.models import Task
from trimtab.errors import DataError
from trimtab.metric_catalog import BY_TASK, TASKS
from trimtab.monitoring.expectation import Expectation
from trimtab.monitoring.mistakes import Costs, mean_mistakes, money
from trimtab.monitoring.reference import MIN_USUAL_WINDOWS, Reference, build_reference
from trimtab.stats.correlations import ENTRY
from trimtab.stats.metrics import metric_value
from trimtab.stats.schemes import CategoryBins, NumericBins
from trimtab.testing.streams import DAY, FIRST_DAY, NAMES, World, truth

COSTS: Costs = {"false_negative": 40.0, "false_positive": 5.0}


def build(days: int = 10, *, task: Task = "binary", **changed: Any) -> Reference:
    world = World(rows=200)
    every = [world.day(n) for n in range(days)]
    X = np.concatenate([day.X for day in every])
    given: dict[str, Any] = {
        "X": X,
        "scores": truth(X),
        "y": np.concatenate([day.y for day in every]),
        "timestamps": np.concatenate([day.times for day in every]),
        "names": NAMES,
    }
    given |= changed
    return build_reference(**given, window=DAY, task=task, threshold=1 / 9, costs=COSTS)


def test_it_comes_back_from_the_bundle_as_it_was() -> None:
    reference = build()
    content = reference.to_json()
    assert Reference.from_json(content) == reference
    assert Reference.from_json(content).to_json() == content
    assert build().to_json() == content, "equal data gives equal bytes"


def test_each_day_is_a_window_with_profiles_of_all_features_and_of_the_score() -> None:
    reference = build()
    assert reference.windows == 10
    assert reference.starts == tuple((FIRST_DAY + n) * DAY for n in range(10))
    assert reference.rows == (200,) * 10
    assert set(reference.profiles[0]) == {*NAMES, "score", ENTRY}
    assert reference.profiles[3]["wind"].n == 200
    assert reference.min_rows == 100


def with_codes() -> np.ndarray[Any, Any]:
    """Return the rows of ten days; their fourth column is a code from 0 to 4, of which day 6 alone has the last."""
    X = np.concatenate([World(rows=200).day(n).X for n in range(10)])
    X[:, 3] = np.arange(len(X)) % 4
    X[1250, 3] = 4
    return X


def test_codes_of_categories_are_counted_one_by_one_and_come_back_from_the_bundle() -> None:
    found = build(X=with_codes(), categories=["hour"])
    hour = found.schemes["hour"]
    assert isinstance(hour, CategoryBins)
    assert set(hour.top) == {"0", "1", "2", "3", "4"}
    assert isinstance(found.schemes["month"], NumericBins)
    profile = found.profiles[0]["hour"]
    assert (profile.kind, max(profile.counts), profile.n) == ("category", 50, 200)
    assert Reference.from_json(found.to_json()) == found
    assert Reference.from_json(found.to_json()).to_json() == found.to_json()


def test_a_reference_made_before_categories_were_known_still_opens() -> None:
    content = build(X=with_codes()).to_json()
    assert b'"kind":"category"' not in content
    assert isinstance(Reference.from_json(content).schemes["hour"], NumericBins)


def test_a_code_that_a_window_does_not_expect_is_unseen() -> None:
    found = build(X=with_codes(), categories=["hour"])
    matrix = np.column_stack([with_codes()[:200], np.full(200, 0.5)]).astype(np.float32)
    matrix[:20, 3], matrix[20:30, 3] = 99, np.nan
    profile = found.profile(matrix)["hour"]
    assert (profile.gross, profile.missing) == (20, 10)


def test_datetimes_and_microseconds_are_the_same() -> None:
    times = np.concatenate([World(rows=200).day(n).times for n in range(10)])
    assert build(timestamps=times.astype("datetime64[us]")) == build(timestamps=times)


@pytest.mark.parametrize(("kept", "rows"), [(slice(1950, None), [200, 200, 250]), (slice(0, 1650), None)])
def test_a_small_window_is_merged_into_the_next_and_a_small_last_one_into_the_one_before(
    kept: slice, rows: list[int] | None
) -> None:
    world = World(rows=200)
    every = [world.day(n) for n in range(9, 13)] if rows else [world.day(n) for n in range(9)]
    X, y, times = (np.concatenate(part) for part in zip(*((d.X, d.y, d.times) for d in every), strict=True))
    if rows:  # 50 rows of day 9, whole days 10 and 11, and 12
        X, y, times = X[150:], y[150:], times[150:]
        found = build(X=X, scores=truth(X), y=y, timestamps=times)
        assert found.rows == (250, 200, 200)
        assert found.starts[0] == (FIRST_DAY + 9) * DAY
    else:  # 50 rows of the last day
        X, y, times = X[kept], y[kept], times[kept]
        assert build(X=X, scores=truth(X), y=y, timestamps=times).rows == (*([200] * 7), 250)


def test_an_honest_model_s_loss_is_what_it_expects_and_a_wrong_one_s_is_not() -> None:
    right, wrong = build(40), build(40, scores=np.full(8000, 0.9))
    assert abs(np.mean(right.excess)) < 0.01
    assert np.mean(wrong.excess) > 0.3


def test_rows_without_a_label_count_for_profiles_only() -> None:
    world = World(rows=200)
    y = np.concatenate([world.day(n).y for n in range(10)])
    y[:200] = np.nan
    y[200:300] = np.nan
    found = build(y=y)
    assert found.labelled[0] is None
    assert found.labelled[1] is not None
    assert found.labelled[1].rows == 100
    assert len(found.excess) == 9
    assert Reference.from_json(found.to_json()) == found


def test_money_is_the_mean_a_prediction_at_the_costs_asked_for() -> None:
    reference = build()
    expected = reference.money(COSTS)
    assert expected is not None
    assert 1 < expected < 10
    assert reference.money({"false_negative": 80.0, "false_positive": 10.0}) == pytest.approx(2 * expected)
    assert build(y=np.full(2000, np.nan)).money(COSTS) is None


def test_mistakes_of_both_tasks() -> None:
    y, p = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.1, 0.5, 0.5, 0.4])
    made = mean_mistakes(y, p, task="binary", threshold=0.5)
    assert made == {"false_negative": 0.25, "false_positive": 0.25}
    assert money(made, COSTS) == pytest.approx(11.25)
    errors = mean_mistakes(np.array([1.0, 5.0]), np.array([2.0, 2.0]), task="regression", threshold=0.5)
    assert errors == {"absolute_error": 2.0, "over_prediction": 0.5, "under_prediction": 1.5}
    assert money(errors, COSTS) == 0.0, "what has no price costs nothing"


def test_a_regression_expects_the_error_that_is_usual_at_its_prediction() -> None:
    rng = np.random.default_rng(1)
    score = rng.uniform(1, 10, 20_000)
    y = score + rng.normal(0, score)  # the error grows with the prediction
    found = Expectation.fit(y, score, task="regression")
    easy, hard = score < 3, score > 8
    assert abs(found.excess(y[easy], score[easy]).mean()) < 0.2
    assert abs(found.excess(y[hard], score[hard]).mean()) < 3
    assert found.excess(y[hard] + 5, score[hard]).mean() > 15
    reference = build(task="regression", y=truth(np.concatenate([World(rows=200).day(n).X for n in range(10)])) + 0.1)
    assert np.abs(reference.excess).max() < 1e-6
    assert Reference.from_json(reference.to_json()) == reference


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"X": np.zeros((0, 4)), "scores": [], "y": [], "timestamps": []}, "needs rows"),
        ({"y": np.zeros(3)}, r"labels \(3,\)"),
        ({"names": ("a", "b")}, r"shape \(2000, 4\) do not fit the names \['a', 'b'\]"),
        ({"names": ("a", "b", "c", "score")}, "none may be 'score'"),
        ({"categories": ["hours"]}, "category 'hours' is no feature. Did you mean 'hour'"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        build(**changed)


def test_a_file_that_is_no_reference_is_refused() -> None:
    with pytest.raises(DataError, match="not a reference"):
        Reference.from_json(b'{"format": 2}')


@pytest.mark.parametrize("task", TASKS)
def test_what_is_usual_for_a_metric_is_the_middle_of_its_windows(task: Task) -> None:
    random = np.random.default_rng(6)
    rows, days = 100, 20
    scores = random.dirichlet([2, 2, 2], rows * days) if task == "multiclass" else random.random(rows * days)
    y = random.integers(0, 2, rows * days).astype(float)
    times = np.datetime64("2026-03-01", "us") + np.arange(rows * days) * np.timedelta64(86_400 // rows, "s")
    asked: dict[str, Any] = {"window": DAY, "task": task, "threshold": 0.5, "costs": {}}
    asked["classes"] = ("a", "b", "c") if task == "multiclass" else ()
    made = build_reference(random.normal(size=(rows * days, 1)), scores, y, times, ["x"], **asked)
    read = Reference.from_json(made.to_json()).usual()
    name = BY_TASK[task].summary[0]
    daily = [metric_value(name, y[at : at + rows], scores[at : at + rows]) for at in range(0, rows * days, rows)]
    expected = np.quantile(daily, (0.05, 0.5, 0.95))
    assert (read[name].low, read[name].median, read[name].high) == pytest.approx(tuple(expected))
    assert set(read) == set(BY_TASK[task].summary)


def test_few_windows_and_references_of_earlier_releases_have_nothing_usual() -> None:
    assert build(days=MIN_USUAL_WINDOWS).usual()
    assert build(days=MIN_USUAL_WINDOWS - 1).usual() == {}
    file = json.loads(build(days=12).to_json())
    for window in file["labelled"]:
        del window["metrics"]
    assert Reference.from_json(json.dumps(file).encode()).usual() == {}
