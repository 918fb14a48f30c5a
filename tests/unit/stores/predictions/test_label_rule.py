"""Which label counts: the one known last, of the same time the one logged last, of the model or of none."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.stores.predictions import label_rule


def test_a_label_known_later_or_at_the_same_time_replaces_the_one_before() -> None:
    early, late = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
    assert label_rule.replaces(late, early)
    assert label_rule.replaces(late, late)
    assert not label_rule.replaces(early, late)


@given(st.lists(st.integers(0, 3), min_size=1))
def test_the_last_one_in_order_is_the_one_that_no_other_replaces(known_at: list[int]) -> None:
    counts = 0
    for place in range(1, len(known_at)):
        if label_rule.replaces(known_at[place], known_at[counts]):
            counts = place
    order = label_rule.ordered(np.array(known_at, np.int64))
    assert order[-1] == counts
    assert sorted(order) == list(range(len(known_at)))


@pytest.mark.parametrize("array", [pa.array, lambda values: pa.chunked_array([values], pa.string())])
def test_a_label_belongs_to_the_model_that_it_names_or_to_all(array: object) -> None:
    named = ["delay", "price", None]
    assert callable(array)
    assert [label_rule.belongs(name, "delay") for name in named] == [True, False, True]
    assert label_rule.belong(array(named), "delay").to_pylist() == [True, False, True]
    assert label_rule.belong(pa.array([], pa.string()), "delay").to_pylist() == []


@pytest.mark.parametrize(
    ("name", "value", "bad"),
    [
        ("thumbs", "down", 1.0),
        ("thumbs", "up", 0.0),
        ("thumbs", True, 0.0),
        ("edited", 0.25, 0.25),
        ("edited", "true", 1.0),
        ("edited", False, 0.0),
        ("judge:polite@3f", "fail", 1.0),
        ("judge:polite@3f", 0.75, 0.25),
        ("human:anna", "pass", 0.0),
    ],
)
def test_the_label_of_a_turn_says_how_bad_it_is(name: str, value: object, bad: float) -> None:
    assert label_rule.NAME.fullmatch(name)
    assert label_rule.badness(name, value) == bad


@pytest.mark.parametrize(
    ("name", "value"),
    [("thumbs", "pass"), ("thumbs", 0.5), ("edited", "up"), ("edited", 1.5), ("human:a", None), ("human:a", "down")],
)
def test_other_values_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r" or "):
        label_rule.badness(name, value)


def test_readers_of_one_label_take_that_of_the_metric() -> None:
    rows = [
        ("triage", "thumbs", 1.0),
        ("triage", "edited", 0.2),
        ("triage", None, 1.0),
        ("answers", "judge:polite@1", 0.4),
        ("answers", "judge:polite@2", 0.6),
        ("answers", "thumbs", 1.0),
        ("delay", None, 0.3),
        (None, None, 0.7),
    ]
    names = ["model", "name", "label"]
    labels = pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=names)
    metrics = {"triage": "edited", "answers": "judge:polite"}
    mapped, counts = label_rule.of_metrics(labels, metrics)
    counted = {
        model: label_rule.of_model(labels, model, metrics)["label"].to_pylist()
        for model in ("triage", "answers", "delay")
    }
    assert mapped.num_rows == len(rows)
    assert counts is not None
    assert counts.tolist() == [False, True, True, True, True, False, True, True]
    assert counted == {"triage": [1.0, 1.0, 0.7], "answers": [0.0, 1.0, 0.7], "delay": [0.3, 0.7]}
    assert label_rule.of_model(labels, "triage", {"triage": "thumbs_down"})["label"].to_pylist() == [1.0, 1.0, 0.7]
    assert label_rule.of_metrics(labels, {}) == (labels, None)
    assert label_rule.of_metrics(labels, {"other": "edited"}) == (labels, None)
