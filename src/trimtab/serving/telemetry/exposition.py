"""Counts in the words of Prometheus and OpenMetrics, by prometheus-client. Called by metrics.

Beside our own names stand those that dashboards of other servers ask for; docs/operations.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

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

from trimtab.stats.gateway_counts import (
    LAG_BORDERS_S,
    LATENCY_BORDERS_US,
    ROWS_BORDERS,
    Snapshot,
    VariantCounts,
    VariantKey,
)

LANE = ("model", "version", "role", "served")
LATENCY_BORDERS_S = tuple(border / 1e6 for border in LATENCY_BORDERS_US)
SHOWN_US = 7 * 86_400_000_000
"""A version that has scored nothing for so long is not shown any more."""

Variants = Sequence[tuple[VariantKey, VariantCounts]]


def expose(snapshot: Snapshot, accept: str = "") -> tuple[bytes, bytes]:
    """Return the counts as text and its content type, in the format that an Accept header asks for."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SnapshotCollector(snapshot))
    return encode(registry), content_type.encode()


class SnapshotCollector(Collector):
    """One snapshot as metrics."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """Return all metrics."""
        since = self._snapshot.taken_at - SHOWN_US
        variants = [
            (key, variant) for key, variant in sorted(self._snapshot.variants.items()) if variant.last_at >= since
        ]
        yield from _variants(variants)
        yield from _gateway(self._snapshot)
        yield from _others([(key, variant) for key, variant in variants if key.served])


def _variants(variants: Variants) -> Iterator[Metric]:
    def counter(name: str, text: str, value: Callable[[VariantCounts], float]) -> Metric:
        family = CounterMetricFamily(name, text, labels=LANE)
        for key, variant in variants:
            family.add_metric(_labels(key), value(variant))
        return family

    yield counter("trimtab_predictions", "Rows that were scored.", lambda variant: variant.rows)
    yield counter("trimtab_prediction_errors", "Rows without a usable score.", lambda variant: variant.errors)
    yield counter(
        "trimtab_prediction_requests", "Requests of which rows were scored.", lambda variant: variant.requests
    )
    yield counter(
        "trimtab_prediction_non_finite", "Scores that are NaN or infinite.", lambda variant: variant.non_finite
    )
    run = GaugeMetricFamily(
        "trimtab_prediction_identical_run", "Newest scores in a row that are the same number.", labels=LANE
    )
    latency = HistogramMetricFamily(
        "trimtab_prediction_latency_seconds", "Time from a request's arrival to its scores.", labels=LANE
    )
    scores = HistogramMetricFamily("trimtab_prediction_score", "Finite scores.", labels=LANE)
    for key, variant in variants:
        run.add_metric(_labels(key), variant.run)
        latency.add_metric(_labels(key), _buckets(LATENCY_BORDERS_S, variant.latency), sum_value=variant.seconds)
        if variant.borders:
            scores.add_metric(_labels(key), _buckets(variant.borders, variant.scores), sum_value=None)
    yield from (run, latency, scores)


def _gateway(now: Snapshot) -> Iterator[Metric]:
    requests = CounterMetricFamily("trimtab_requests", "Requests that were answered.", labels=("protocol", "status"))
    for (protocol, status), count in sorted(now.requests.items()):
        requests.add_metric((protocol, str(status)), count)
    durations = HistogramMetricFamily(
        "trimtab_request_duration_seconds", "Time from a request's arrival to its answer.", labels=("protocol",)
    )
    for protocol, own in sorted(now.durations.items()):
        durations.add_metric((protocol,), _buckets(LATENCY_BORDERS_S, own.counts), sum_value=own.seconds)
    refused = CounterMetricFamily("trimtab_refused_requests", "Requests that were refused.", labels=("status",))
    for status, count in sorted(now.refused.items()):
        refused.add_metric((str(status),), count)
    fallbacks = CounterMetricFamily(
        "trimtab_fallbacks", "Rows that another than the routed version answered.", labels=("model", "reason")
    )
    for (model, reason), count in sorted(now.fallbacks.items()):
        fallbacks.add_metric((model, reason), count)
    rule_failures = CounterMetricFamily(
        "trimtab_fallback_rule_failures",
        "Rows for which the declared rule was asked and gave nothing.",
        labels=("model", "reason"),
    )
    for (model, reason), count in sorted(now.rule_failures.items()):
        rule_failures.add_metric((model, reason), count)
    checked = CounterMetricFamily("trimtab_checked_rows", "Rows whose columns were checked.", labels=("model",))
    for model, count in sorted(now.checked.items()):
        checked.add_metric((model,), count)
    outside = CounterMetricFamily(
        "trimtab_unexpected_rows",
        "Rows with a value that the checks do not expect, by column; an empty column counts each row once.",
        labels=("model", "column"),
    )
    for (model, column), count in sorted(now.outside.items()):
        outside.add_metric((model, column), count)
    yield from (requests, durations, refused, fallbacks, rule_failures, checked, outside)
    yield _histogram("trimtab_turn_rows", "Rows that were scored together.", ROWS_BORDERS, now.batches, now.batch_rows)
    yield _histogram(
        "trimtab_log_lag_seconds",
        "Time from an answer until the prediction log was flushed.",
        LAG_BORDERS_S,
        now.log_lags,
        now.log_lag_seconds,
    )
    yield CounterMetricFamily("trimtab_shed_requests", "Requests sent away for too many waiting.", now.shed)
    yield CounterMetricFamily("trimtab_log_gap_rows", "Rows answered but not logged.", now.gap_rows)
    yield CounterMetricFamily(
        "trimtab_comparison_dropped_rows", "Rows not scored for comparison, for speed.", now.comparison_dropped
    )
    yield CounterMetricFamily("trimtab_labels", "Labels that were logged.", now.labels)
    yield CounterMetricFamily("trimtab_cpu_seconds", "Processor time of all workers.", now.cpu_seconds)
    state = now.state
    troubles = GaugeMetricFamily(
        "trimtab_models_in_trouble",
        "Workers in which the model does not serve as its newest revision says.",
        labels=("model",),
    )
    for model, count in sorted(state.troubles.items()):
        troubles.add_metric((model,), count)
    yield troubles
    yield GaugeMetricFamily("trimtab_workers", "Workers that are alive.", state.workers)
    yield GaugeMetricFamily("trimtab_requests_in_progress", "Requests not answered yet.", state.in_progress)
    yield GaugeMetricFamily("trimtab_rows_waiting", "Rows that wait to be scored.", state.rows_waiting)
    yield GaugeMetricFamily("trimtab_log_lag_newest_seconds", "Lag of the newest flush.", state.log_lag)
    yield GaugeMetricFamily("trimtab_resident_memory_bytes", "Memory of all workers.", state.resident_bytes)


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


def _labels(key: VariantKey) -> tuple[str, str, str, str]:
    return (key.model, str(key.version), key.role, str(key.served).lower())


def _histogram(name: str, text: str, borders: Sequence[float], counts: Sequence[int], total: float) -> Metric:
    family = HistogramMetricFamily(name, text)
    family.add_metric((), _buckets(borders, counts or [0] * (len(borders) + 1)), sum_value=total)
    return family


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
