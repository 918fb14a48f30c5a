"""Counters of the gateway in Prometheus' text form. Fed by desk and asgi, shown at /metrics."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from trimtab.serving.work import Part

LATENCY_BORDERS_US = (250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000)

Key = tuple[str, int, str, bool]


class _Lane:
    """Counts of one model, version, role, and whether it answered."""

    __slots__ = ("buckets", "errors", "rows", "seconds")

    def __init__(self) -> None:
        self.rows = 0
        self.errors = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(LATENCY_BORDERS_US) + 1)


class Metrics:
    """Counts since the start of the process. Lives on one event loop."""

    def __init__(self) -> None:
        self._lanes: dict[Key, _Lane] = {}
        self._refused: dict[int, int] = {}
        self.labels = 0

    def count(self, scored: Sequence[tuple[Part, int]], *, served: bool) -> None:
        """Count the rows of scored parts, each given with its latency in microseconds."""
        for part, latency_us in scored:
            bundle = part.lane.bundle
            key = (bundle.spec.model, bundle.version, part.lane.role, served)
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = _Lane()
            rows = part.rows
            lane.rows += rows
            lane.seconds += latency_us * rows / 1e6
            lane.buckets[bisect_left(LATENCY_BORDERS_US, latency_us)] += rows
            if part.error is not None:
                lane.errors += rows

    def refuse(self, status: int) -> None:
        """Count a request that was answered with an error status."""
        self._refused[status] = self._refused.get(status, 0) + 1

    def text(self) -> str:
        """Return all counters in Prometheus' text exposition format 0.0.4."""
        lines = ["# TYPE trimtab_predictions_total counter"]
        lines += [f"trimtab_predictions_total{{{_labels(key)}}} {lane.rows}" for key, lane in self._lanes.items()]
        lines.append("# TYPE trimtab_prediction_errors_total counter")
        lines += [
            f"trimtab_prediction_errors_total{{{_labels(key)}}} {lane.errors}" for key, lane in self._lanes.items()
        ]
        lines.append("# TYPE trimtab_prediction_latency_seconds histogram")
        for key, lane in self._lanes.items():
            lines += _histogram(_labels(key), lane)
        lines.append("# TYPE trimtab_refused_requests_total counter")
        lines += [f'trimtab_refused_requests_total{{status="{status}"}} {n}' for status, n in self._refused.items()]
        lines += ["# TYPE trimtab_labels_total counter", f"trimtab_labels_total {self.labels}"]
        return "\n".join(lines) + "\n"


def _labels(key: Key) -> str:
    model, version, role, served = key
    return f'model="{model}",version="{version}",role="{role}",served="{str(served).lower()}"'


def _histogram(labels: str, lane: _Lane) -> list[str]:
    lines, below = [], 0
    for border, rows in zip(LATENCY_BORDERS_US, lane.buckets, strict=False):
        below += rows
        lines.append(f'trimtab_prediction_latency_seconds_bucket{{{labels},le="{border / 1e6:g}"}} {below}')
    lines.append(f'trimtab_prediction_latency_seconds_bucket{{{labels},le="+Inf"}} {lane.rows}')
    lines.append(f"trimtab_prediction_latency_seconds_sum{{{labels}}} {lane.seconds:.6f}")
    lines.append(f"trimtab_prediction_latency_seconds_count{{{labels}}} {lane.rows}")
    return lines
