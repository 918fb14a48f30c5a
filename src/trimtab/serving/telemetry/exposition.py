"""The counts of a gateway as metrics of Prometheus and OpenMetrics, written by prometheus-client.

FAMILIES has one row for each metric of our own. The names that dashboards of other servers ask for come after them;
docs/operations.md lists both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
    UntypedMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from trimtab.records.loop_pulse import LoopPulse, ModelFigures
from trimtab.records.stream_progress import StreamProgress
from trimtab.stats.gateway_counts import (
    LAG_BORDERS_S,
    LATENCY_BORDERS_US,
    ROWS_BORDERS,
    Durations,
    Snapshot,
    State,
    VariantCounts,
    VariantKey,
)

VARIANT = ("model", "version", "role", "served")
STREAM = ("source",)
MODEL = ("model",)
LATENCY_BORDERS_S = tuple(border / 1e6 for border in LATENCY_BORDERS_US)
MAY_BE_ABSENT = (StreamProgress, LoopPulse, ModelFigures)
"""Most projects have no stream, and a gateway may serve without a loop: their metrics are then left out."""
SHOWN_US = 7 * 86_400_000_000
"""A version that has scored nothing for so long is not shown any more."""

Variants = Sequence[tuple[VariantKey, VariantCounts]]
Labels = tuple[str, ...]


class Family(NamedTuple):
    """How one field of the counts is shown: one metric, with one sample for each owner and each key of the field."""

    owner: (
        type[VariantCounts]
        | type[Snapshot]
        | type[Durations]
        | type[State]
        | type[StreamProgress]
        | type[LoopPulse]
        | type[ModelFigures]
    )
    field: str
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily] | type[HistogramMetricFamily]
    name: str
    text: str
    labels: Labels = ()
    total: str | None = None
    """Of a histogram: the field that holds the sum of its values."""
    borders: Sequence[float] | None = None
    """Of a histogram; None takes the owner's own `borders`, and shows no owner without them."""


COUNTER, GAUGE, HISTOGRAM = CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
# fmt: off
FAMILIES = (
    Family(VariantCounts, "rows", COUNTER, "trimtab_predictions", "Rows that were scored.", VARIANT),
    Family(VariantCounts, "errors", COUNTER, "trimtab_prediction_errors", "Rows without a usable score.", VARIANT),
    Family(VariantCounts, "requests", COUNTER, "trimtab_prediction_requests",
           "Requests of which rows were scored.", VARIANT),
    Family(VariantCounts, "non_finite", COUNTER, "trimtab_prediction_non_finite",
           "Scores that are NaN or infinite.", VARIANT),
    Family(VariantCounts, "run", GAUGE, "trimtab_prediction_identical_run",
           "Newest scores in a row that are the same number.", VARIANT),
    Family(VariantCounts, "latency", HISTOGRAM, "trimtab_prediction_latency_seconds",
           "Time from a request's arrival to its scores.", VARIANT, "seconds", LATENCY_BORDERS_S),
    Family(VariantCounts, "scores", HISTOGRAM, "trimtab_prediction_score", "Finite scores.", VARIANT),
    Family(Snapshot, "requests", COUNTER, "trimtab_requests", "Requests that were answered.", ("protocol", "status")),
    Family(Durations, "counts", HISTOGRAM, "trimtab_request_duration_seconds",
           "Time from a request's arrival to its answer.", ("protocol",), "seconds", LATENCY_BORDERS_S),
    Family(Snapshot, "refused", COUNTER, "trimtab_refused_requests", "Requests that were refused.", ("status",)),
    Family(Snapshot, "fallbacks", COUNTER, "trimtab_fallbacks",
           "Rows that another than the routed version answered.", ("model", "reason")),
    Family(Snapshot, "rule_failures", COUNTER, "trimtab_fallback_rule_failures",
           "Rows for which the declared rule was asked and gave nothing.", ("model", "reason")),
    Family(Snapshot, "checked", COUNTER, "trimtab_checked_rows", "Rows whose columns were checked.", ("model",)),
    Family(Snapshot, "outside", COUNTER, "trimtab_unexpected_rows",
           "Rows with a value that the checks do not expect, by column; an empty column counts each row once.",
           ("model", "column")),
    Family(Snapshot, "batches", HISTOGRAM, "trimtab_turn_rows", "Rows that were scored together.",
           total="batch_rows", borders=ROWS_BORDERS),
    Family(Snapshot, "log_lags", HISTOGRAM, "trimtab_log_lag_seconds",
           "Time from an answer until the prediction log was flushed.", total="log_lag_seconds", borders=LAG_BORDERS_S),
    Family(Snapshot, "shed", COUNTER, "trimtab_shed_requests", "Requests sent away for too many waiting."),
    Family(Snapshot, "gap_rows", COUNTER, "trimtab_log_gap_rows", "Rows answered but not logged."),
    Family(Snapshot, "comparison_dropped", COUNTER, "trimtab_comparison_dropped_rows",
           "Rows not scored for comparison, for speed."),
    Family(Snapshot, "labels", COUNTER, "trimtab_labels", "Labels that were logged."),
    Family(Snapshot, "chat_turns", COUNTER, "trimtab_chat_turns",
           "Turns of prompts, by what became of them at a version: ok, or an error.", ("model", "outcome")),
    Family(Snapshot, "chat_tokens", COUNTER, "trimtab_chat_tokens",
           "Tokens; cached ones are among the input, reasoning is in the output.", ("model", "kind")),
    Family(Snapshot, "chat_cost", COUNTER, "trimtab_chat_cost_pico",
           "Cost of calls of endpoints, in 1e-12 of the currency.", ("model", "purpose")),
    Family(Snapshot, "first_tokens", HISTOGRAM, "trimtab_chat_first_token_seconds",
           "Time from a call of an endpoint to its first token.", total="first_token_seconds",
           borders=LATENCY_BORDERS_S),
    Family(Snapshot, "cpu_seconds", COUNTER, "trimtab_cpu_seconds", "Processor time of all workers."),
    Family(State, "troubles", GAUGE, "trimtab_models_in_trouble",
           "Workers in which the model does not serve as its newest revision says.", ("model",)),
    Family(State, "view_age", GAUGE, "trimtab_view_age_seconds",
           "Time since the moment up to which the online values of a view are complete.", ("view",)),
    Family(State, "workers", GAUGE, "trimtab_workers", "Workers that are alive."),
    Family(State, "in_progress", GAUGE, "trimtab_requests_in_progress", "Requests not answered yet."),
    Family(State, "streams", GAUGE, "trimtab_chat_streams", "Answers that are being streamed."),
    Family(State, "rows_waiting", GAUGE, "trimtab_rows_waiting", "Rows that wait to be scored."),
    Family(State, "log_lag", GAUGE, "trimtab_log_lag_newest_seconds", "Lag of the newest flush."),
    Family(State, "resident_bytes", GAUGE, "trimtab_resident_memory_bytes", "Memory of all workers."),
    Family(StreamProgress, "flows", GAUGE, "trimtab_stream_flows", "1 for a stream that has no trouble.", STREAM),
    Family(StreamProgress, "lag", GAUGE, "trimtab_stream_lag_messages",
           "Messages that the broker has and the table has not.", STREAM),
    Family(StreamProgress, "freshness_s", GAUGE, "trimtab_stream_freshness_seconds",
           "Age of the oldest message of the newest micro-batch when its online values could be read.", STREAM),
    Family(StreamProgress, "rows_per_second", GAUGE, "trimtab_stream_rows_per_second",
           "Rows that land, over half a minute.", STREAM),
    Family(StreamProgress, "rows", COUNTER, "trimtab_stream_rows", "Rows that were added to the table.", STREAM),
    Family(StreamProgress, "refused", COUNTER, "trimtab_stream_refused_messages", "Messages in quarantine.", STREAM),
    Family(StreamProgress, "losses", COUNTER, "trimtab_stream_losses",
           "Losses of messages that were not read, in all.", STREAM),
    Family(LoopPulse, "at_s", GAUGE, "trimtab_loop_last_step_timestamp_seconds", "When the loop last ended a step."),
    Family(ModelFigures, "revision", GAUGE, "trimtab_revision_number", "Number of the newest revision.", MODEL),
    Family(ModelFigures, "window_end", GAUGE, "trimtab_window_end_timestamp_seconds",
           "Event time: end of the champion's newest window with mature labels.", MODEL),
    Family(ModelFigures, "label_coverage", GAUGE, "trimtab_window_label_coverage",
           "Labelled share of the rows of that window.", MODEL),
    Family(ModelFigures, "losses", GAUGE, "trimtab_window_loss",
           "Loss of that window, in the metric by which versions are compared.", (*MODEL, "metric")),
    Family(ModelFigures, "money_lost", GAUGE, "trimtab_window_money_lost",
           "Money lost by mistakes in that window.", MODEL),
    Family(ModelFigures, "impact_per_day", GAUGE, "trimtab_impact_per_day",
           "Money that mistakes cost a day beyond what is usual.", MODEL),
    Family(ModelFigures, "p_seq", GAUGE, "trimtab_sequential_p",
           "Sequential p-value of that window, by kind of signal.", (*MODEL, "kind")),
    Family(ModelFigures, "decisions", COUNTER, "trimtab_decisions", "Decisions, by action.", (*MODEL, "action")),
    Family(ModelFigures, "open_reviews", GAUGE, "trimtab_open_reviews", "Reviews that wait for a person.", MODEL),
)
"""In the order in which they are shown. The names of counters get the ending `_total`."""
# fmt: on


def expose(
    snapshot: Snapshot, accept: str = "", streams: Sequence[StreamProgress] = (), loop: LoopPulse | None = None
) -> tuple[bytes, bytes]:
    """Return the counts as text and its content type, in the format that an Accept header asks for."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SnapshotCollector(snapshot, streams, loop))
    return encode(registry), content_type.encode()


class SnapshotCollector(Collector):
    """One snapshot as metrics, with those of streams and of the loop."""

    def __init__(
        self, snapshot: Snapshot, streams: Sequence[StreamProgress] = (), loop: LoopPulse | None = None
    ) -> None:
        self._snapshot, self._streams, self._loop = snapshot, streams, loop

    def collect(self) -> Iterable[Metric]:
        """Return all metrics."""
        now = self._snapshot
        variants = [
            (key, variant)
            for key, variant in sorted(now.variants.items())
            if variant.last_at >= now.taken_at - SHOWN_US
        ]
        owners: Mapping[type[Any], list[tuple[Labels, Any]]] = {
            VariantCounts: [
                ((key.model, str(key.version), key.role, str(key.served).lower()), variant) for key, variant in variants
            ],
            Snapshot: [((), now)],
            Durations: [((protocol,), own) for protocol, own in sorted(now.durations.items())],
            State: [((), now.state)],
            StreamProgress: [((one.source,), one) for one in self._streams],
            LoopPulse: [] if self._loop is None else [((), self._loop)],
            ModelFigures: [] if self._loop is None else [((one.model,), one) for one in self._loop.models],
        }
        for family in FAMILIES:
            if owners[family.owner] or family.owner not in MAY_BE_ABSENT:
                yield _metric(family, owners[family.owner])
        yield from _others([(key, variant) for key, variant in variants if key.served])


def _metric(family: Family, owners: Sequence[tuple[Labels, Any]]) -> Metric:
    """Return one metric of some owners of its field, each with its labels."""
    metric = family.kind(family.name, family.text, labels=family.labels)
    for labels, owner in owners:
        value = getattr(owner, family.field)
        if isinstance(metric, HistogramMetricFamily):
            borders = owner.borders if family.borders is None else family.borders
            if borders:
                total = None if family.total is None else getattr(owner, family.total)
                metric.add_metric(labels, _buckets(borders, value or [0] * (len(borders) + 1)), sum_value=total)
        elif isinstance(value, dict):
            for key, count in sorted(value.items()):
                keys = key if isinstance(key, tuple) else (key,)
                metric.add_metric([*labels, *(str(part) for part in keys)], count)
        elif value is not None:
            metric.add_metric(labels, value)
    return metric


def _others(variants: Variants) -> Iterator[Metric]:
    """Answered requests under the names of KServe, MLServer and Triton, summed over roles."""
    kserve = HistogramMetricFamily("request_predict_seconds", "predict request latency", labels=("model_name",))
    for model, own in _by(variants, lambda key: (key.model,)):
        kserve.add_metric(
            model, _buckets(LATENCY_BORDERS_S, _sum(own)), sum_value=sum(variant.seconds for variant in own)
        )
    names = ("model", "version")
    success = CounterMetricFamily("model_infer_request_success", "Model infer request success count", labels=names)
    failure = CounterMetricFamily("model_infer_request_failure", "Model infer request failure count", labels=names)
    duration = SummaryMetricFamily("model_infer_request_duration", "Model infer request duration", labels=names)
    # Triton's counters do not end in _total, which a counter of prometheus-client must; to a query they are the same
    nv_success = UntypedMetricFamily("nv_inference_request_success", "Successful inference requests", labels=names)
    nv_failure = UntypedMetricFamily("nv_inference_request_failure", "Failed inference requests", labels=names)
    nv_count = UntypedMetricFamily("nv_inference_count", "Inferences performed", labels=names)
    nv_duration = UntypedMetricFamily(
        "nv_inference_request_duration_us", "Cumulative inference request duration in microseconds", labels=names
    )
    for labels, own in _by(variants, lambda key: (key.model, str(key.version))):
        requests, failed = sum(variant.requests for variant in own), sum(variant.failed for variant in own)
        seconds = sum(variant.seconds for variant in own)
        success.add_metric(labels, requests - failed)
        failure.add_metric(labels, failed)
        duration.add_metric(labels, count_value=requests, sum_value=seconds)
        nv_success.add_metric(labels, requests - failed)
        nv_failure.add_metric(labels, failed)
        nv_count.add_metric(labels, sum(variant.rows - variant.errors for variant in own))
        nv_duration.add_metric(labels, round(seconds * 1e6))
    yield from (kserve, success, failure, duration, nv_success, nv_failure, nv_count, nv_duration)


def _buckets(borders: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return (upper border, count up to it), as Prometheus has its histograms."""
    below, out = 0, []
    for border, count in zip([*map(floatToGoString, borders), "+Inf"], counts, strict=True):
        below += count
        out.append((border, float(below)))
    return out


def _by(
    variants: Variants, group: Callable[[VariantKey], tuple[str, ...]]
) -> Iterator[tuple[tuple[str, ...], list[VariantCounts]]]:
    found: dict[tuple[str, ...], list[VariantCounts]] = {}
    for key, variant in variants:
        found.setdefault(group(key), []).append(variant)
    yield from found.items()


def _sum(variants: Sequence[VariantCounts]) -> list[int]:
    return [sum(counts) for counts in zip(*(variant.latency for variant in variants), strict=True)]
