"""The join of labels to predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from trimtab.monitoring.label_join import NEVER, LabelPool, Labels, WindowLabels, from_table
from trimtab.stores.predictions.arrow_rows import schema_of, with_columns
from trimtab.tasks import UNKNOWN_CLASS


def labels(*rows: tuple[str, float, int], model: str | None = "delay") -> Labels:
    return Labels(
        pa.array([id_ for id_, _, _ in rows], pa.string()),
        pa.array([model] * len(rows), pa.string()),
        np.array([label for _, label, _ in rows], np.float64),
        np.array([known for _, _, known in rows], np.int64),
        np.arange(len(rows)),
        pa.nulls(len(rows), pa.string()),
    )


def window(*ids: str) -> WindowLabels:
    return WindowLabels("delay", pa.array(ids, pa.string()))


def test_the_latest_known_label_counts_whatever_the_order_of_arrival() -> None:
    found = window("a", "b")
    found.accept(labels(("a", 1.0, 30), ("b", 0.0, 10), ("a", 0.0, 20)))
    known, repeats = found.known_by(100)
    assert known.values.tolist() == [1.0, 0.0]
    assert repeats == 1


def test_of_labels_known_at_the_same_moment_the_one_that_came_last_counts() -> None:
    found = window("a")
    found.accept(labels(("a", 1.0, 30)))
    found.accept(labels(("a", 0.0, 30)))
    assert found.known_by(30)[0].values.tolist() == [0.0]


def test_a_window_is_judged_on_what_was_known_by_a_moment() -> None:
    found = window("a", "b")
    found.accept(labels(("a", 1.0, 10), ("a", 0.0, 20), ("b", 1.0, 21)))
    assert found.known_by(9)[0].values.tolist() == [float("nan")] * 2 or np.isnan(found.known_by(9)[0].values).all()
    assert found.known_by(10)[0].values[0] == 1.0
    values = found.known_by(20)[0].values
    assert values[0] == 0.0
    assert np.isnan(values[1])


def test_a_window_is_complete_when_its_last_prediction_gets_a_first_label() -> None:
    found = window("a", "b")
    assert found.complete_at == NEVER
    found.accept(labels(("a", 1.0, 10), ("b", 1.0, 40), ("b", 0.0, 25), ("a", 0.0, 99)))
    assert found.complete_at == 25


def test_labels_that_came_before_their_window_closed_wait_in_the_pool() -> None:
    pool = LabelPool()
    pool.add(labels(("a", 1.0, 10), ("x", 1.0, 11)))
    pool.add(labels(("b", 0.0, 12)))
    found = window("a", "b")
    pool.give_to(found)
    assert found.known_by(50)[0].values.tolist() == [1.0, 0.0]
    assert len(pool) == 1


def test_labels_nobody_can_claim_any_more_are_given_up_and_counted() -> None:
    pool = LabelPool()
    pool.add(labels(("x", 1.0, 10), ("y", 1.0, 20)))
    pool.drop_before({"delay": 20})
    assert (len(pool), pool.unmatched) == (1, 1)
    pool.drop_before({"delay": 21})
    assert (len(pool), pool.unmatched) == (0, 2)


def test_each_models_labels_are_given_up_at_its_own_moment() -> None:
    pool = LabelPool()
    for model in ("delay", "price", None, "nobody's"):
        pool.add(labels(("x", 1.0, 10), ("y", 1.0, 20), model=model))
    pool.drop_before({"delay": 15, "price": 5})
    assert (len(pool), pool.unmatched) == (7, 1)
    pool.drop_before({"delay": 25, "price": 15})
    assert (len(pool), pool.unmatched) == (3, 5), "who names no model is kept as long as any model may need it"


def test_labels_of_another_model_are_left_and_those_of_none_join_by_the_id_alone() -> None:
    found, pool = window("a", "b"), LabelPool()
    pool.add(labels(("a", 1.0, 10), ("b", 1.0, 10), model="price"))
    pool.add(labels(("b", 0.0, 11), model=None))
    pool.give_to(found)
    late = found.accept(labels(("a", 1.0, 12), model="price"))
    known, repeats = found.known_by(50)
    assert np.isnan(known.values[0])
    assert known.values[1] == 0.0
    assert not late.any()
    assert (repeats, len(pool)) == (0, 2)


@given(
    rows=st.lists(st.tuples(st.sampled_from("abcdx"), st.sampled_from([0.0, 1.0]), st.integers(0, 20)), max_size=30),
    cut=st.integers(0, 30),
    moment=st.integers(0, 25),
)
def test_the_join_equals_a_plain_loop_however_labels_are_batched(
    rows: list[tuple[str, float, int]], cut: int, moment: int
) -> None:
    found, pool = window("a", "b", "c", "d"), LabelPool()
    pool.add(labels(*rows[:cut]))
    pool.give_to(found)
    found.accept(labels(*rows[cut:]))
    expected: dict[str, tuple[int, float]] = {}
    for id_, label, known in rows:
        if known <= moment and known >= expected.get(id_, (-1, 0.0))[0]:
            expected[id_] = (known, label)
    judged, repeats = found.known_by(moment)
    assert [None if np.isnan(v) else v for v in judged.values] == [
        expected[i][1] if i in expected else None for i in "abcd"
    ]
    assert repeats == sum(k <= moment and i != "x" for i, _, k in rows) - len(expected.keys() - {"x"})


def test_classes_become_the_indices_of_each_version_and_unknown_ones_are_counted() -> None:
    found = window("a", "b", "c", "d")
    rows = labels(("a", float("nan"), 10), ("b", float("nan"), 10), ("a", float("nan"), 20), ("c", float("nan"), 10))
    found.accept(replace(rows, classes=pa.array(["late", "late", "cancelled", "on time"])))
    known, repeats = found.known_by(30)
    assert repeats == 1
    places = np.array([3, 2, 1, 0])
    values, unknown = known.of(places, ("on time", "late"))
    assert [None if np.isnan(v) else v for v in values] == [None, 0.0, 1.0, UNKNOWN_CLASS]
    assert unknown == {"cancelled": 1}
    values, unknown = known.of(places, ("cancelled", "late", "on time"))
    assert [None if np.isnan(v) else v for v in values] == [None, 2.0, 1.0, 0.0]
    assert unknown == {}
    values, _ = found.known_by(15)[0].of(places, ("on time", "late"))
    assert values[3] == 1.0
    assert np.isnan(found.known_by(30)[0].of(places, ())[0]).all()


def test_labels_are_read_from_the_log_s_table() -> None:
    moment = pa.array([1_000_000], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    columns = {"prediction_id": ["a"], "model": ["m"], "label": [1.0], "known_at": moment, "received_at": moment}
    found = from_table(with_columns(pa.table(columns), schema_of("labels")))
    assert (found.ids.to_pylist(), found.models.to_pylist()) == (["a"], ["m"])
    assert (found.label.tolist(), found.known_at.tolist()) == ([1.0], [1_000_000])
    assert len(from_table(schema_of("labels").empty_table())) == 0
