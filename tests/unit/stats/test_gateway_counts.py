"""The arithmetic of counts: sums, differences, quantiles."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.stats.gateway_counts import (
    LARGEST,
    LATENCY_BORDERS_US,
    STALE_US,
    ByKey,
    Durations,
    Histogram,
    Snapshot,
    State,
    Total,
    VariantCounts,
    VariantKey,
    difference,
    latency_quantile,
    merge,
    merge_fields,
    quantile,
    rebin,
    rules,
    subtract_fields,
)

KEY = VariantKey("delay", 3, "champion", True)
number = st.integers(0, 2**40)
histograms = st.lists(number, min_size=3, max_size=3)
variants = st.builds(
    VariantCounts,
    requests=number,
    failed=number,
    rows=number,
    errors=number,
    latency=histograms,
    late=histograms,
    borders=st.just((0.2, 0.7)),
    scores=histograms,
    non_finite=number,
    run=number,
    run_score=st.none() | st.floats(0, 1),
    run_inputs=st.lists(number, max_size=3),
    last_at=number,
)
snapshots = st.builds(
    Snapshot,
    taken_at=number,
    variants=st.dictionaries(
        st.builds(VariantKey, st.sampled_from("ab"), number, st.just("shadow"), st.booleans()), variants
    ),
    requests=st.dictionaries(st.tuples(st.sampled_from("ab"), st.sampled_from([200, 400])), number),
    durations=st.dictionaries(st.sampled_from("ab"), st.builds(Durations, counts=histograms)),
    refused=st.dictionaries(st.sampled_from([400, 503]), number),
    fallbacks=st.dictionaries(st.tuples(st.sampled_from("ab"), st.sampled_from(["slow", "error"])), number),
    batches=histograms,
    batch_rows=number,
    log_lags=histograms,
    shed=number,
    gap_rows=number,
    comparison_dropped=number,
    labels=number,
)


def sums(snapshot: Snapshot) -> object:
    """Return what is a sum in a snapshot, without zeros, to compare."""
    plain = msgspec.structs.replace(snapshot, taken_at=0, state=State())
    plain.variants = {
        key: msgspec.structs.replace(variant, run=0, run_score=None, run_inputs=[], last_at=0)
        for key, variant in plain.variants.items()
        if variant.requests or variant.rows or any(variant.latency) or any(variant.scores)
    }
    return plain


@given(snapshots, snapshots)
def test_what_happened_after_a_snapshot_is_the_sum_less_the_snapshot(before: Snapshot, after: Snapshot) -> None:
    found = difference(merge([before, after]), before)
    for key, variant in after.variants.items():
        assert found.variants[key].rows == variant.rows
        assert found.variants[key].latency == variant.latency
        assert found.variants[key].scores == variant.scores
        assert found.variants[key].non_finite == variant.non_finite
    assert {key: n for key, n in found.requests.items() if n} == {key: n for key, n in after.requests.items() if n}
    assert (found.batches, found.labels, found.shed, found.gap_rows) == (
        after.batches,
        after.labels,
        after.shed,
        after.gap_rows,
    )
    assert all(variant.rows == 0 for key, variant in found.variants.items() if key not in after.variants)


@given(snapshots, snapshots, snapshots)
def test_the_order_of_workers_does_not_matter(a: Snapshot, b: Snapshot, c: Snapshot) -> None:
    assert sums(merge([a, b, c])) == sums(merge([c, a, b])) == sums(merge([merge([b, c]), a]))


@given(snapshots)
def test_a_snapshot_survives_its_encoding(snapshot: Snapshot) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot), type=Snapshot) == snapshot


@given(snapshots)
def test_nothing_happened_between_a_snapshot_and_itself(snapshot: Snapshot) -> None:
    found = difference(snapshot, snapshot)
    assert not any(variant.rows or any(variant.latency) or any(variant.scores) for variant in found.variants.values())
    assert not any(found.requests.values())


class Wider(Snapshot):
    """Counts with one more of each kind."""

    more: Total = 0
    slowest: Annotated[int, LARGEST] = 0
    sizes: Histogram = msgspec.field(default_factory=list)
    by_model: ByKey[str] = msgspec.field(default_factory=dict)


def test_a_new_field_is_merged_and_subtracted_as_its_type_says() -> None:
    a, b = (Wider(more=n, slowest=n, sizes=[n, 1], by_model={"a": n, str(n): 1}) for n in (5, 9))
    total = merge_fields(Wider, [a, b])
    assert (total.more, total.slowest, total.sizes, total.by_model) == (14, 9, [14, 2], {"a": 14, "5": 1, "9": 1})
    rest = subtract_fields(total, b)
    assert (rest.more, rest.slowest, rest.sizes, rest.by_model) == (5, 9, [5, 1], {"a": 5, "5": 1, "9": 0})


@pytest.mark.parametrize("kind", [Snapshot, State, VariantCounts, Durations])
def test_every_field_says_how_it_adds_up(kind: type[msgspec.Struct]) -> None:
    by_hand = {"borders", "scores", "run", "run_score", "run_inputs"} if kind is VariantCounts else set()
    assert {name for name, _ in rules(kind)} == set(kind.__struct_fields__) - by_hand


def test_counts_that_began_anew_are_no_negative_ones() -> None:
    old, new = (
        Snapshot(variants={KEY: VariantCounts(rows=9)}, labels=4),
        Snapshot(variants={KEY: VariantCounts(rows=2)}),
    )
    found = difference(new, old)
    assert (found.variants[KEY].rows, found.labels) == (0, 0)


def test_the_state_of_workers_that_are_gone_does_not_count() -> None:
    gone = Snapshot(taken_at=0, labels=3, state=State(workers=1, in_progress=7))
    here = Snapshot(taken_at=STALE_US + 1, labels=4, state=State(workers=1, in_progress=2))
    found = merge([gone, here], now=STALE_US + 1)
    assert found.labels == 7
    assert (found.state.workers, found.state.in_progress) == (1, 2)


def test_the_runs_of_workers_that_are_gone_do_not_count() -> None:
    gone = Snapshot(taken_at=0, variants={KEY: VariantCounts(rows=300, run=300, run_score=0.5)})
    here = Snapshot(taken_at=STALE_US + 1, variants={KEY: VariantCounts(rows=5, run=2, run_score=0.1)})
    found = merge([gone, here], now=STALE_US + 1).variants[KEY]
    assert (found.rows, found.run, found.run_score) == (305, 2, 0.1)


def test_runs_of_one_score_in_several_workers_are_one_run() -> None:
    workers = [
        VariantCounts(run=40, run_score=0.5),
        VariantCounts(run=60, run_score=0.5),
        VariantCounts(run=70, run_score=0.1),
    ]
    found = merge(Snapshot(variants={KEY: variant}) for variant in workers).variants[KEY]
    assert (found.run, found.run_score) == (100, 0.5)


@given(st.lists(st.integers(1, 29_000_000), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bin_of_the_true_one(latencies: list[int], q: float) -> None:
    counts = [0] * (len(LATENCY_BORDERS_US) + 1)
    for latency in latencies:
        counts[bisect_left(LATENCY_BORDERS_US, latency)] += 1
    true = sorted(latencies)[max(0, math.ceil(q * len(latencies) - 1e-9) - 1)]
    place = bisect_left(LATENCY_BORDERS_US, true)
    low = LATENCY_BORDERS_US[place - 1] if place else 0
    assert low * (1 - 1e-9) <= quantile(LATENCY_BORDERS_US, counts, q) <= LATENCY_BORDERS_US[place] * (1 + 1e-9)


def test_quantiles_at_the_ends() -> None:
    empty = [0] * (len(LATENCY_BORDERS_US) + 1)
    beyond = [*empty[:-1], 5]
    assert math.isnan(quantile(LATENCY_BORDERS_US, empty, 0.99))
    assert latency_quantile(VariantCounts(latency=beyond), 0.99) == pytest.approx(30.0)
    assert latency_quantile(VariantCounts(latency=[100, *empty[1:]]), 0.99) == pytest.approx(49.5e-6)


@given(st.lists(number, min_size=4, max_size=4))
def test_other_borders_keep_the_total(counts: list[int]) -> None:
    assert rebin((1.0, 2.0, 5.0), counts, (1.0, 2.0, 5.0)) == counts
    assert sum(rebin((1.0, 2.0, 5.0), counts, (3.0,))) == sum(counts)


def test_workers_with_other_borders_are_brought_to_those_of_most_rows() -> None:
    few = VariantCounts(borders=(10.0,), scores=[1, 2])
    many = VariantCounts(borders=(0.0, 20.0), scores=[5, 50, 5])
    found = merge([Snapshot(variants={KEY: few}), Snapshot(variants={KEY: many})]).variants[KEY]
    assert found.borders == (0.0, 20.0)
    assert found.scores == [5, 53, 5]
