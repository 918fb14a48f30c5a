"""What gateways count: plain numbers that can be saved, added up and subtracted. Made by metrics, read by the guard.

A snapshot holds sums since the gateway's folder was made. The difference of two snapshots is what happened in
between; merging those of all workers gives the gateway's. Histograms are lists of counts: `counts[n]` is of the
values above `borders[n - 1]` and up to `borders[n]`, the last one of those above all borders.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from trimtab.stats.distinct_counts import smallest

# fmt: off
LATENCY_BORDERS_US = (
    50, 100, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000, 7_000, 10_000, 15_000, 20_000, 30_000, 50_000,
    100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 30_000_000,
)
"""Microseconds; within 50 us to 50 ms a p99 is known to half its size or better before interpolation."""
# fmt: on
ROWS_BORDERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LAG_BORDERS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
PROBABILITY_BORDERS = tuple(step / 20 for step in range(1, 20))
"""20 equal bins on [0, 1]."""
STALE_US = 10_000_000
"""A snapshot older than this is of a worker that is gone: its sums count on, its state does not."""

K = TypeVar("K")


class VariantKey(NamedTuple):
    """Whose counts: of one version in one role, the answers that it gave or its comparisons beside others' answers."""

    model: str
    version: int
    role: str
    served: bool


class VariantCounts(msgspec.Struct):
    """What one version did in one role."""

    requests: int = 0
    """Requests that it scored rows of."""
    failed: int = 0
    """Requests of these whose rows have no usable score."""
    rows: int = 0
    errors: int = 0
    """Rows of the failed requests."""
    seconds: float = 0.0
    """Sum of the latencies of the requests, from the arrival to the score."""
    latency: list[int] = []
    """Requests by LATENCY_BORDERS_US."""
    late: list[int] = []
    """Those that a fallback answered because they took too long, by LATENCY_BORDERS_US."""
    borders: tuple[float, ...] = ()
    """Of the score histogram; empty for a regression of which too few scores are known."""
    scores: list[int] = []
    """Finite scores by `borders`."""
    non_finite: int = 0
    """Scores that are NaN or infinite."""
    run: int = 0
    """How many scores, up to the newest, are the same one: of a model that answers everything alike, nearly all."""
    run_score: float | None = None
    run_inputs: list[int] = []
    """Of the inputs of the run, the smallest fingerprints (distinct.py); empty where nobody asks for them."""
    last_at: int = 0
    """When the newest rows were counted, microseconds since the epoch."""


class Durations(msgspec.Struct):
    """Requests of one protocol by their duration, from the arrival to the answer."""

    seconds: float = 0.0
    counts: list[int] = []
    """By LATENCY_BORDERS_US."""


class State(msgspec.Struct):
    """What is so at the moment, and not a sum."""

    workers: int = 0
    in_progress: int = 0
    """Requests that were not answered yet."""
    rows_waiting: int = 0
    """Rows that are in no batch yet."""
    log_lag: float = 0.0
    """Seconds from the newest flushed answer to its flush; the largest of all workers."""
    resident_bytes: int = 0
    troubles: dict[str, int] = {}
    """By model: workers in which it does not serve as it should."""


class Snapshot(msgspec.Struct):
    """Everything that one worker, or all together, counted."""

    taken_at: int = 0
    """Microseconds since the epoch."""
    state: State = msgspec.field(default_factory=State)
    variants: dict[VariantKey, VariantCounts] = msgspec.field(default_factory=dict, name="lanes")
    """Saved under the name that earlier versions gave it, and so are batches and their rows."""
    requests: dict[tuple[str, int], int] = {}
    """Answered requests by protocol and HTTP status."""
    durations: dict[str, Durations] = {}
    """By protocol."""
    refused: dict[int, int] = {}
    """Requests that were refused, by status."""
    fallbacks: dict[tuple[str, str], int] = {}
    """Rows answered by another than the routed version, by model and reason."""
    rule_failures: dict[tuple[str, str], int] = {}
    """Rows for which the declared rule was asked and gave nothing, by model and reason."""
    checked: dict[str, int] = {}
    """Rows whose request columns were checked, by model."""
    outside: dict[tuple[str, str], int] = {}
    """Rows with an unexpected value, by model and request column; "" is any column, and counts a row once."""
    batches: list[int] = msgspec.field(default_factory=list, name="turns")
    """Batches by their rows (ROWS_BORDERS)."""
    batch_rows: int = msgspec.field(default=0, name="turn_rows")
    log_lags: list[int] = []
    """Flushes by their lag (LAG_BORDERS_S)."""
    log_lag_seconds: float = 0.0
    shed: int = 0
    """Requests sent away because too many rows waited."""
    gap_rows: int = 0
    """Rows that were answered but could not be logged."""
    comparison_dropped: int = 0
    """Rows that were not scored for comparison because that would have slowed answers down."""
    labels: int = 0
    cpu_seconds: float = 0.0


def difference(new: Snapshot, old: Snapshot) -> Snapshot:
    """Return what happened between two snapshots of the same gateway; state and runs are those of `new`."""
    return Snapshot(
        taken_at=new.taken_at,
        state=new.state,
        variants={key: _less(counts, old.variants.get(key)) for key, counts in new.variants.items()},
        requests=_keys_less(new.requests, old.requests),
        durations={
            protocol: Durations(max(0.0, own.seconds - before.seconds), _counts_less(own.counts, before.counts))
            for protocol, own in new.durations.items()
            for before in [old.durations.get(protocol, Durations())]
        },
        refused=_keys_less(new.refused, old.refused),
        fallbacks=_keys_less(new.fallbacks, old.fallbacks),
        rule_failures=_keys_less(new.rule_failures, old.rule_failures),
        checked=_keys_less(new.checked, old.checked),
        outside=_keys_less(new.outside, old.outside),
        batches=_counts_less(new.batches, old.batches),
        batch_rows=max(0, new.batch_rows - old.batch_rows),
        log_lags=_counts_less(new.log_lags, old.log_lags),
        log_lag_seconds=max(0.0, new.log_lag_seconds - old.log_lag_seconds),
        shed=max(0, new.shed - old.shed),
        gap_rows=max(0, new.gap_rows - old.gap_rows),
        comparison_dropped=max(0, new.comparison_dropped - old.comparison_dropped),
        labels=max(0, new.labels - old.labels),
        cpu_seconds=max(0.0, new.cpu_seconds - old.cpu_seconds),
    )


def merge(snapshots: Iterable[Snapshot], *, now: int | None = None) -> Snapshot:
    """Return the sum of the snapshots of all workers.

    now: microseconds since the epoch; states and runs of snapshots more than STALE_US older are left out.
    """
    found = [_of_now(each, now) for each in snapshots]
    live = [each.state for each in found]
    keys = dict.fromkeys(key for each in found for key in each.variants)
    protocols = dict.fromkeys(protocol for each in found for protocol in each.durations)
    return Snapshot(
        taken_at=max((each.taken_at for each in found), default=0),
        state=State(
            workers=sum(each.workers for each in live),
            in_progress=sum(each.in_progress for each in live),
            rows_waiting=sum(each.rows_waiting for each in live),
            log_lag=max((each.log_lag for each in live), default=0.0),
            resident_bytes=sum(each.resident_bytes for each in live),
            troubles=_keys_sum(each.troubles for each in live),
        ),
        variants={key: together([each.variants[key] for each in found if key in each.variants]) for key in keys},
        requests=_keys_sum(each.requests for each in found),
        durations={
            protocol: Durations(sum(each.seconds for each in own), _counts_sum([each.counts for each in own]))
            for protocol in protocols
            for own in [[each.durations[protocol] for each in found if protocol in each.durations]]
        },
        refused=_keys_sum(each.refused for each in found),
        fallbacks=_keys_sum(each.fallbacks for each in found),
        rule_failures=_keys_sum(each.rule_failures for each in found),
        checked=_keys_sum(each.checked for each in found),
        outside=_keys_sum(each.outside for each in found),
        batches=_counts_sum([each.batches for each in found]),
        batch_rows=sum(each.batch_rows for each in found),
        log_lags=_counts_sum([each.log_lags for each in found]),
        log_lag_seconds=sum(each.log_lag_seconds for each in found),
        shed=sum(each.shed for each in found),
        gap_rows=sum(each.gap_rows for each in found),
        comparison_dropped=sum(each.comparison_dropped for each in found),
        labels=sum(each.labels for each in found),
        cpu_seconds=sum(each.cpu_seconds for each in found),
    )


def together(variants: Sequence[VariantCounts]) -> VariantCounts:
    """Return the sum of one or more variants; scores on other borders than those of most are brought to these."""
    borders = max(variants, key=lambda variant: sum(variant.scores)).borders
    runs: dict[float | None, int] = {}
    for variant in variants:  # a model that answers everything alike does so in every worker
        runs[variant.run_score] = runs.get(variant.run_score, 0) + variant.run
    run_score, run = max(runs.items(), key=lambda item: item[1])
    return VariantCounts(
        requests=sum(variant.requests for variant in variants),
        failed=sum(variant.failed for variant in variants),
        rows=sum(variant.rows for variant in variants),
        errors=sum(variant.errors for variant in variants),
        seconds=sum(variant.seconds for variant in variants),
        latency=_counts_sum([variant.latency for variant in variants]),
        late=_counts_sum([variant.late for variant in variants]),
        borders=borders,
        scores=_counts_sum(
            [
                variant.scores if variant.borders == borders else rebin(variant.borders, variant.scores, borders)
                for variant in variants
            ]
        ),
        non_finite=sum(variant.non_finite for variant in variants),
        run=run,
        run_score=run_score,
        run_inputs=smallest(*(variant.run_inputs for variant in variants if variant.run_score == run_score)),
        last_at=max(variant.last_at for variant in variants),
    )


def _of_now(snapshot: Snapshot, now: int | None) -> Snapshot:
    """Return a snapshot without what is no sum, when its worker is gone."""
    if now is None or now - snapshot.taken_at <= STALE_US:
        return snapshot
    variants = {
        key: msgspec.structs.replace(variant, run=0, run_score=None, run_inputs=[])
        for key, variant in snapshot.variants.items()
    }
    return msgspec.structs.replace(snapshot, state=State(), variants=variants)


def quantile(borders: Sequence[float], counts: Sequence[int], q: float) -> float:
    """Return the value below which the share `q` of a histogram of positive values lies; NaN when it is empty.

    Within a bin the values are taken to lie evenly on a logarithmic scale (evenly below the first border).
    Above the last border nothing is known: that border is returned.
    """
    total = sum(counts)
    if not total:
        return math.nan
    wanted, below = q * total, 0
    for place, count in enumerate(counts[: len(borders)]):
        if count and below + count >= wanted:
            part = (wanted - below) / count
            high = float(borders[place])
            return high * part if place == 0 else float(borders[place - 1] ** (1 - part) * high**part)
        below += count
    return float(borders[-1])


def latency_quantile(variant: VariantCounts, q: float) -> float:
    """Return the latency in seconds below which the share `q` of a variant's requests lies; NaN without requests."""
    return quantile(LATENCY_BORDERS_US, variant.latency, q) / 1e6


def rebin(borders: Sequence[float], counts: Sequence[int], onto: Sequence[float]) -> list[int]:
    """Return counts for other borders; each bin's counts go where its middle lies, so they are close, not exact."""
    out = [0] * (len(onto) + 1)
    ends = [borders[0], *borders, borders[-1]] if borders else []
    for place, count in enumerate(counts if borders else ()):
        middle = (ends[place] + ends[place + 1]) / 2
        above = place == len(borders)
        out[sum(1 for border in onto if (middle >= border if above else middle > border))] += count
    return out


def _less(new: VariantCounts, old: VariantCounts | None) -> VariantCounts:
    if old is None:
        return new
    same = new.borders == old.borders
    before = old.scores if same else rebin(old.borders, old.scores, new.borders)
    return VariantCounts(
        requests=max(0, new.requests - old.requests),
        failed=max(0, new.failed - old.failed),
        rows=max(0, new.rows - old.rows),
        errors=max(0, new.errors - old.errors),
        seconds=max(0.0, new.seconds - old.seconds),
        latency=_counts_less(new.latency, old.latency),
        late=_counts_less(new.late, old.late),
        borders=new.borders,
        scores=_counts_less(new.scores, before),
        non_finite=max(0, new.non_finite - old.non_finite),
        run=new.run,
        run_score=new.run_score,
        run_inputs=new.run_inputs,
        last_at=new.last_at,
    )


def _counts_sum(lists: Sequence[Sequence[int]]) -> list[int]:
    longest = max(map(len, lists), default=0)
    return [sum(each[place] for each in lists if place < len(each)) for place in range(longest)]


def _counts_less(new: Sequence[int], old: Sequence[int]) -> list[int]:
    return [max(0, count - (old[place] if place < len(old) else 0)) for place, count in enumerate(new)]


def _keys_sum(mappings: Iterable[Mapping[K, int]]) -> dict[K, int]:
    out: dict[K, int] = {}
    for mapping in mappings:
        for key, count in mapping.items():
            out[key] = out.get(key, 0) + count
    return out


def _keys_less(new: Mapping[K, int], old: Mapping[K, int]) -> dict[K, int]:
    return {key: max(0, count - old.get(key, 0)) for key, count in new.items()}
