"""What /metrics prints of a snapshot: the whole text, and that no count is left out of it or of the docs."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from prometheus_client.core import CounterMetricFamily

from trimtab.records.loop_pulse import LoopPulse, ModelFigures
from trimtab.records.stream_progress import StreamProgress
from trimtab.serving.telemetry.exposition import FAMILIES, expose
from trimtab.stats.gateway_counts import (
    LAG_BORDERS_S,
    LATENCY_BORDERS_US,
    PROBABILITY_BORDERS,
    ROWS_BORDERS,
    Durations,
    Snapshot,
    State,
    VariantCounts,
    VariantKey,
    merge,
)

HERE = Path(__file__).parent
NOW = 1_790_000_000_000_000
NOT_SHOWN: dict[type[msgspec.Struct], set[str]] = {
    Snapshot: {"taken_at", "state", "variants", "durations"},  # the owners of further counts, and a time
    ModelFigures: {"model"},  # a label
    VariantCounts: {"failed", "late", "borders", "run_score", "run_inputs", "last_at"},  # read by the guard
}


def rising(borders: tuple[float, ...], start: int) -> list[int]:
    """Return a histogram whose counts are all different."""
    return [start + place for place in range(len(borders) + 1)]


def variant(start: int, *, borders: tuple[float, ...] = PROBABILITY_BORDERS, last_at: int = NOW) -> VariantCounts:
    return VariantCounts(
        requests=start,
        failed=start + 1,
        rows=start + 2,
        errors=start + 3,
        seconds=start + 0.25,
        latency=rising(LATENCY_BORDERS_US, start),
        late=rising(LATENCY_BORDERS_US, start + 1),
        borders=borders,
        scores=rising(borders, start) if borders else [],
        non_finite=start + 4,
        run=start + 5,
        run_score=0.5,
        run_inputs=[1, 2],
        last_at=last_at,
    )


def filled(start: int) -> Snapshot:
    """Return a snapshot with another number in each field."""
    return Snapshot(
        taken_at=NOW,
        state=State(
            1, start + 1, start + 2, start + 0.5, start + 3, {"delay": 1, "price": 0}, {"spend": start + 4.5}, start + 6
        ),
        variants={
            VariantKey("delay", 3, "champion", True): variant(start),
            VariantKey("delay", 2, "fallback", True): variant(start + 10),
            VariantKey("delay", 4, "shadow", False): variant(start + 20),
            VariantKey("price", 1, "champion", True): variant(start + 30, borders=(1.5, 20.0)),
            VariantKey("price", 2, "challenger", True): variant(start + 40, borders=()),
            VariantKey("old", 1, "champion", True): variant(start + 50, last_at=0),
        },
        requests={("open_inference", 200): start + 60, ("kserve", 400): start + 61, ("none", 404): start + 62},
        durations={
            name: Durations(start + 0.75, rising(LATENCY_BORDERS_US, start)) for name in ("open_inference", "kserve")
        },
        refused={503: start + 70, 400: start + 71},
        fallbacks={("delay", "slow"): start + 80, ("delay", "error"): start + 81},
        rule_failures={("delay", "request"): start + 90, ("delay", "rule"): start + 91},
        checked={"delay": start + 100},
        outside={("delay", ""): start + 110, ("delay", 'dis"tance\\'): start + 111},
        batches=rising(ROWS_BORDERS, start),
        batch_rows=start + 120,
        log_lags=rising(LAG_BORDERS_S, start),
        log_lag_seconds=start + 0.125,
        shed=start + 130,
        gap_rows=start + 140,
        comparison_dropped=start + 150,
        labels=start + 160,
        chat_turns={("triage", "ok"): start + 170, ("triage", "upstream_timeout"): start + 171},
        chat_tokens={("triage", "input"): start + 180, ("triage", "output"): start + 181},
        chat_cost={("triage", "serve"): start + 190},
        first_tokens=rising(LATENCY_BORDERS_US, start),
        first_token_seconds=start + 0.375,
        cpu_seconds=start + 0.0625,
    )


@pytest.mark.parametrize(("file", "snapshots"), [("filled.prom", [filled(0), filled(1000)]), ("empty.prom", [])])
def test_the_exposition_is_the_known_text(file: str, snapshots: list[Snapshot]) -> None:
    found = expose(merge(snapshots, now=NOW))[0].decode()
    assert found == (HERE / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("owner", [Snapshot, State, VariantCounts, Durations, ModelFigures])
def test_every_count_is_shown_or_named_here(owner: type[msgspec.Struct]) -> None:
    rows = [family for family in FAMILIES if family.owner is owner]
    shown = {family.field for family in rows} | {family.total for family in rows if family.total is not None}
    fields = set(owner.__struct_fields__)
    assert fields - shown == NOT_SHOWN.get(owner, set())
    assert shown <= fields


def test_the_docs_list_every_metric_and_no_other() -> None:
    page = (HERE.parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page[page.index("## Metrics") :].partition("Dashboards and autoscalers")[0]
    names = {f"{family.name}_total" if family.kind is CounterMetricFamily else family.name for family in FAMILIES}
    assert set(re.findall(r"`(trimtab_\w+)`", table)) == names


def test_streams_are_shown_with_what_is_known_of_them() -> None:
    streams = [
        StreamProgress(source="payments", rows=7, lag=3, freshness_s=0.5),
        StreamProgress(source="b", trouble="x"),
    ]
    text = expose(merge([], now=NOW), streams=streams)[0].decode()
    assert 'trimtab_stream_rows_total{source="payments"} 7.0' in text
    assert 'trimtab_stream_freshness_seconds{source="payments"} 0.5' in text
    assert re.findall(r"trimtab_stream_lag_messages{.*", text) == ['trimtab_stream_lag_messages{source="payments"} 3.0']
    assert 'trimtab_stream_flows{source="b"} 0.0' in text


def test_the_loop_is_shown_with_what_it_has_come_to() -> None:
    delay = ModelFigures(model="delay", p_seq={"data": 0.03}, decisions={"review": 2, "monitor": 9}, open_reviews=1)
    pulse = LoopPulse(pid=1, at=datetime(2026, 3, 1, tzinfo=UTC), models=(delay,))
    text = expose(merge([], now=NOW), loop=pulse)[0].decode()
    assert "trimtab_loop_last_step_timestamp_seconds 1.7723232e+09" in text
    assert 'trimtab_sequential_p{kind="data",model="delay"} 0.03' in text
    assert 'trimtab_decisions_total{action="review",model="delay"} 2.0' in text
    assert 'trimtab_open_reviews{model="delay"} 1.0' in text
    assert "trimtab_window_money_lost{" not in text, "no window has mature labels"
    assert "trimtab_loop" not in expose(merge([], now=NOW))[0].decode(), "no loop runs"
