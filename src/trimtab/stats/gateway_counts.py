"""The counts of gateways, which can be saved, merged over workers, and subtracted to get those of a time span.

A snapshot holds totals since the gateway's folder was made. Each field's type says how it adds up: `Total`,
`Histogram`, `ByKey`. A new counter is a field here, a row of FAMILIES in serving/telemetry/exposition.py, and one in
the docs.

Histograms are lists of counts: `counts[n]` counts the values above `borders[n - 1]` and up to `borders[n]`, the last
element those above all borders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import chain, repeat, zip_longest
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_type_hints

import msgspec

from trimtab.stats.distinct_counts import smallest

# fmt: off
LATENCY_BORDERS_US = (
    50, 100, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000, 7_000, 10_000, 15_000, 20_000, 30_000, 50_000,
    100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 30_000_000,
)
"""Microseconds; between 50 us and 50 ms a quantile is known within half its size, before interpolation."""
# fmt: on
ROWS_BORDERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LAG_BORDERS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
PROBABILITY_BORDERS = tuple(step / 20 for step in range(1, 20))
"""20 equal bins on [0, 1]."""
STALE_US = 10_000_000
"""A snapshot older than this is of a worker that is gone: its totals still count, its state does not."""

K = TypeVar("K")
S = TypeVar("S", bound=msgspec.Struct)


class Rule(NamedTuple):
    """How the values of a field are merged, and how an earlier value is subtracted from a later one."""

    merge: Callable[[Sequence[Any]], Any]
    subtract: Callable[[Any, Any], Any]


def _add_histograms(histograms: Sequence[Sequence[int]]) -> list[int]:
    return [sum(counts) for counts in zip_longest(*histograms, fillvalue=0)]


def _subtract_histogram(new: Sequence[int], old: Sequence[int]) -> list[int]:
    return [count - before if count > before else 0 for count, before in zip(new, chain(old, repeat(0)), strict=False)]


def _add_by_key(mappings: Sequence[Mapping[K, int]]) -> dict[K, int]:
    out: dict[K, int] = {}
    for mapping in mappings:
        for key, count in mapping.items():
            out[key] = out.get(key, 0) + count
    return out


def _subtract_by_key(new: Mapping[K, int], old: Mapping[K, int]) -> dict[K, int]:
    return {key: max(0, count - old.get(key, 0)) for key, count in new.items()}


def _largest_by_key(mappings: Sequence[Mapping[K, float]]) -> dict[K, float]:
    return {key: max(m[key] for m in mappings if key in m) for mapping in mappings for key in mapping}


TOTAL = Rule(sum, lambda new, old: max(0, new - old))
LARGEST = Rule(lambda values: max(values, default=0), lambda new, old: new)
Total = Annotated[int, TOTAL]
Seconds = Annotated[float, TOTAL]
Histogram = Annotated[list[int], Rule(_add_histograms, _subtract_histogram)]
ByKey = Annotated[dict[K, int], Rule(_add_by_key, _subtract_by_key)]


class VariantKey(NamedTuple):
    """One version in one role; served: the rows that it answered, else those that it scored for comparison."""

    model: str
    version: int
    role: str
    served: bool


class VariantCounts(msgspec.Struct):
    """The counts of one version in one role."""

    requests: Total = 0
    """Requests that it scored rows of."""
    failed: Total = 0
    """Those of the requests whose rows have no usable score."""
    rows: Total = 0
    errors: Total = 0
    """Rows of the failed requests."""
    seconds: Seconds = 0.0
    """Sum of the latencies of the requests, from the arrival to the score."""
    latency: Histogram = []
    """Requests by LATENCY_BORDERS_US."""
    late: Histogram = []
    """Those that a fallback answered because they took too long, by LATENCY_BORDERS_US."""
    borders: tuple[float, ...] = ()
    """Borders of the score histogram; empty for a regression with too few scores so far."""
    scores: list[int] = []
    """Finite scores by `borders`."""
    non_finite: Total = 0
    """Scores that are NaN or infinite."""
    run: int = 0
    """How many scores in a row, up to the newest, are equal."""
    run_score: float | None = None
    run_inputs: list[int] = []
    """Smallest fingerprints of the inputs of the run (distinct_counts); empty if the policy has no such limit."""
    last_at: Annotated[int, LARGEST] = 0
    """When the newest rows were counted, microseconds since the epoch."""


class Durations(msgspec.Struct):
    """Requests of one protocol by their duration, from the arrival to the answer."""

    seconds: Seconds = 0.0
    counts: Histogram = []
    """By LATENCY_BORDERS_US."""


class State(msgspec.Struct):
    """The current state, which is not a total."""

    workers: Total = 0
    in_progress: Total = 0
    """Requests that are not answered yet."""
    rows_waiting: Total = 0
    """Rows that are in no batch yet."""
    log_lag: Annotated[float, LARGEST] = 0.0
    """Seconds from the newest flushed answer to its flush; the largest of all workers."""
    resident_bytes: Total = 0
    troubles: ByKey[str] = {}
    """Model -> workers in which it does not serve as its newest revision says."""
    view_age: Annotated[dict[str, float], Rule(_largest_by_key, lambda new, old: new)] = {}
    """Seconds since the newest online values of each view in service; the largest of all workers."""
    streams: Total = 0
    """Answers that are being streamed."""


class Snapshot(msgspec.Struct):
    """All counts of one worker, or of all workers together."""

    taken_at: Annotated[int, LARGEST] = 0
    """Microseconds since the epoch."""
    state: Annotated[State, STATE] = msgspec.field(default_factory=State)
    variants: Annotated[dict[VariantKey, VariantCounts], VARIANTS] = msgspec.field(default_factory=dict, name="lanes")
    """Saved under the name that earlier versions gave it, and so are batches and their rows."""
    requests: ByKey[tuple[str, int]] = {}
    """Answered requests by protocol and HTTP status."""
    durations: Annotated[dict[str, Durations], DURATIONS] = {}
    """By protocol."""
    refused: ByKey[int] = {}
    """Requests that were refused, by status."""
    fallbacks: ByKey[tuple[str, str]] = {}
    """Rows that a fallback answered, by model and reason."""
    rule_failures: ByKey[tuple[str, str]] = {}
    """Rows for which the declared fallback rule gave no score, by model and reason."""
    checked: ByKey[str] = {}
    """Rows whose request columns were checked, by model."""
    outside: ByKey[tuple[str, str]] = {}
    """Rows with an unexpected value, by model and request column; "" is any column, and counts a row once."""
    batches: Histogram = msgspec.field(default_factory=list, name="turns")
    """Batches by their rows (ROWS_BORDERS)."""
    batch_rows: Total = msgspec.field(default=0, name="turn_rows")
    log_lags: Histogram = []
    """Flushes by their lag (LAG_BORDERS_S)."""
    log_lag_seconds: Seconds = 0.0
    shed: Total = 0
    """Requests refused because too many rows were waiting."""
    gap_rows: Total = 0
    """Rows that were answered but could not be logged."""
    comparison_dropped: Total = 0
    """Rows that were not scored for comparison because that would have slowed answers down."""
    labels: Total = 0
    chat_turns: ByKey[tuple[str, str]] = {}
    """What versions of prompts did in turns, by prompt and outcome: ok, or the error."""
    chat_tokens: ByKey[tuple[str, str]] = {}
    """By prompt and kind: input, cached, output, reasoning. Cached ones are among the input, reasoning is in the
    output."""
    chat_cost: ByKey[tuple[str, str]] = {}
    """In 1e-12 of the currency, by prompt and purpose."""
    first_tokens: Histogram = []
    """Turns by the time until their first token (LATENCY_BORDERS_US)."""
    first_token_seconds: Seconds = 0.0
    cpu_seconds: Seconds = 0.0


@cache
def rules(kind: type[msgspec.Struct]) -> tuple[tuple[str, Rule], ...]:
    """Return the fields of a struct that declare a rule, and their rules."""
    hints = get_type_hints(kind, include_extras=True).items()
    return tuple((name, rule) for name, hint in hints for rule in get_args(hint)[1:] if isinstance(rule, Rule))


def merge_fields(kind: type[S], found: Sequence[S], **others: Any) -> S:
    """Return one struct for several: fields with a rule are merged, `others` are taken as given."""
    return kind(**others, **{name: rule.merge([getattr(each, name) for each in found]) for name, rule in rules(kind)})


def subtract_fields(new: S, old: S, **others: Any) -> S:
    """Return `new` with each field that has a rule less the same field of `old`, and `others` as given."""
    less = {name: rule.subtract(getattr(new, name), getattr(old, name)) for name, rule in rules(type(new))}
    return msgspec.structs.replace(new, **others, **less)


def difference(new: Snapshot, old: Snapshot) -> Snapshot:
    """Return the counts between two snapshots of the same gateway; state and runs are those of `new`."""
    return subtract_fields(new, old)


def merge(snapshots: Iterable[Snapshot], *, now: int | None = None) -> Snapshot:
    """Return the sum of the snapshots of all workers.

    now: microseconds since the epoch; states and runs of snapshots more than STALE_US older are left out.
    """
    return merge_fields(Snapshot, [_of_now(each, now) for each in snapshots])


def together(variants: Sequence[VariantCounts]) -> VariantCounts:
    """Return the sum of one or more variants; scores are rebinned onto the borders of the variant with most scores."""
    borders = max(variants, key=lambda variant: sum(variant.scores)).borders
    runs: dict[float | None, int] = {}
    for variant in variants:  # the same run may go on in several workers
        runs[variant.run_score] = runs.get(variant.run_score, 0) + variant.run
    run_score, run = max(runs.items(), key=lambda item: item[1])
    return merge_fields(
        VariantCounts,
        variants,
        borders=borders,
        scores=_add_histograms([_scores_on(borders, variant) for variant in variants]),
        run=run,
        run_score=run_score,
        run_inputs=smallest(*(variant.run_inputs for variant in variants if variant.run_score == run_score)),
    )


def _less(new: VariantCounts, old: VariantCounts) -> VariantCounts:
    return subtract_fields(new, old, scores=_subtract_histogram(new.scores, _scores_on(new.borders, old)))


def _scores_on(borders: Sequence[float], variant: VariantCounts) -> list[int]:
    return variant.scores if variant.borders == borders else rebin(variant.borders, variant.scores, borders)


def _of_now(snapshot: Snapshot, now: int | None) -> Snapshot:
    """Return a snapshot; of a worker that is gone, without state and runs."""
    if now is None or now - snapshot.taken_at <= STALE_US:
        return snapshot
    variants = {
        key: msgspec.structs.replace(variant, run=0, run_score=None, run_inputs=[])
        for key, variant in snapshot.variants.items()
    }
    return msgspec.structs.replace(snapshot, state=State(), variants=variants)


def quantile(borders: Sequence[float], counts: Sequence[int], q: float) -> float:
    """Return the q-quantile (0 to 1) of a histogram of positive values; NaN when it is empty.

    Interpolates within a bin on a logarithmic scale (linearly below the first border). Beyond the last border it
    returns that border.
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
    """Return the q-quantile of the latency of a variant's requests in seconds; NaN without requests."""
    return quantile(LATENCY_BORDERS_US, variant.latency, q) / 1e6


def rebin(borders: Sequence[float], counts: Sequence[int], onto: Sequence[float]) -> list[int]:
    """Return counts on other borders: each bin goes to the one that holds its middle, so the result is approximate."""
    out = [0] * (len(onto) + 1)
    ends = [borders[0], *borders, borders[-1]] if borders else []
    for place, count in enumerate(counts if borders else ()):
        middle = (ends[place] + ends[place + 1]) / 2
        above = place == len(borders)
        out[sum(1 for border in onto if (middle >= border if above else middle > border))] += count
    return out


def _each_key(rule: Rule) -> Rule:
    """Return the rule for a mapping whose values follow `rule`."""

    def merge(mappings: Sequence[Mapping[K, Any]]) -> dict[K, Any]:
        keys = dict.fromkeys(chain.from_iterable(mappings))
        return {key: rule.merge([mapping[key] for mapping in mappings if key in mapping]) for key in keys}

    def subtract(new: Mapping[K, Any], old: Mapping[K, Any]) -> dict[K, Any]:
        return {key: rule.subtract(value, old[key]) if key in old else value for key, value in new.items()}

    return Rule(merge, subtract)


VARIANTS = _each_key(Rule(together, _less))
DURATIONS = _each_key(Rule(lambda found: merge_fields(Durations, found), subtract_fields))
STATE = Rule(lambda found: merge_fields(State, found), lambda new, old: new)
