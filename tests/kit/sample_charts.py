"""A chart of every builder, of as many windows as asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from trimtab.charts.choice_panels import (
    BatchBar,
    CostBar,
    GateMark,
    PolicyPoint,
    RunPoint,
    batches_panel,
    cost_panel,
    frontier_panel,
    gates_panel,
    runs_panel,
    savings_panel,
)
from trimtab.charts.distribution_panels import (
    CalibrationBin,
    ColumnShares,
    SegmentGain,
    calibration_panel,
    column_panel,
    segments_panel,
)
from trimtab.charts.event_panels import (
    Act,
    Band,
    DecisionMark,
    Done,
    NamedSpan,
    ServingSpan,
    SignalMark,
    decisions_panel,
    health_panel,
    model_panels,
    serves_panel,
    signals_panel,
    timelines_panel,
)
from trimtab.charts.theme import Frame, Role, Spec
from trimtab.charts.window_panels import (
    Level,
    PValue,
    UsualRange,
    WindowValue,
    gain_growth_panel,
    gain_panel,
    loss_panel,
    metric_panel,
    money_panel,
    p_seq_panel,
    p_values_panel,
    sparkline,
)

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
BANDS: tuple[Band, ...] = ("minor", "moderate", "severe", "minor", "severe")


SERVED: dict[Role, int] = {"champion": 7, "challenger": 3, "shadow": 20}
"""Days that a version serves, by role."""


def frame(count: int, width: int | None = 900) -> Frame:
    return Frame(start=BEGIN, end=BEGIN + count * DAY, width=width)


def windows(count: int, *, bounds: bool = True) -> list[WindowValue]:
    made = []
    for n in range(count):
        value = 0.4 + 0.1 * ((n * 7919) % 13) / 13
        low, high = (value - 0.05, value + 0.05) if bounds and n >= count // 5 else (None, None)
        at = BEGIN + n * DAY
        made.append(WindowValue(start=at, end=at + DAY, value=value, low=low, high=high, version=n // 100))
    return made


def spans(count: int, row: str = "gateway") -> list[NamedSpan]:
    uses = ("pass", "pass", "severe")
    return [
        NamedSpan(row=row, start=w.start, end=w.end, use=uses[n % 3], text=str(n)) for n, w in enumerate(windows(count))
    ]


def signals(count: int) -> list[SignalMark]:
    rows = ("mistakes", "inputs", "latency")
    return [
        SignalMark(start=w.start, end=w.end, row=row, band=BANDS[n % 5], alone=n % 2 == 0, decides=row != "latency")
        for row in rows
        for n, w in enumerate(windows(count))
    ]


def decisions(count: int) -> list[DecisionMark]:
    done: tuple[Done, ...] = ("acted", "held back", "raised")
    return [
        DecisionMark(start=w.start, end=w.end, number=n, band=BANDS[n % 5], done=done[n % 3])
        for n, w in enumerate(windows(count))
    ]


CHARTS: dict[str, Callable[[int, int | None], Spec]] = {
    "loss_panel": lambda n, w: loss_panel(
        windows(n), [UsualRange(start=BEGIN, end=BEGIN + n * DAY, low=0.3, high=0.5)], frame(n, w)
    ),
    "metric_panel": lambda n, w: metric_panel(
        windows(n), frame(n, w), metric="p99", limits=[Level(name="limit 1", value=1.0)], zero=True
    ),
    "p_seq_panel": lambda n, w: p_seq_panel(windows(n), frame(n, w)),
    "money_panel": lambda n, w: money_panel(
        windows(n), windows(n), frame(n, w), currency="USD", levels=[Level(name="medium 1", value=1.0)]
    ),
    "gain_panel": lambda n, w: gain_panel(windows(n), windows(n), frame(n, w)),
    "gain_growth_panel": lambda n, w: gain_growth_panel(windows(n), frame(n, w)),
    "sparkline": lambda n, w: sparkline([w.value for w in windows(min(n, 30))]),
    "serves_panel": lambda n, w: serves_panel(
        [
            ServingSpan(role=role, version=i, start=BEGIN + i * DAY, end=BEGIN + min(i + long, n) * DAY)
            for role, long in SERVED.items()
            for i in range(0, n, 7)
        ],
        frame(n, w),
    ),
    "decisions_panel": lambda n, w: decisions_panel(decisions(n), frame(n, w)),
    "signals_panel": lambda n, w: signals_panel(signals(n), frame(n, w)),
    "timelines_panel": lambda n, w: timelines_panel(
        [*spans(n, "never"), *spans(n, "weekly")],
        [Act(row="never", time=window.start, what="promote") for window in windows(n)],
        frame(n, w),
    ),
    "health_panel": lambda n, w: health_panel(spans(n), frame(n, w)),
    "model_panels": lambda n, w: model_panels(
        [("Loss", loss_panel(windows(n), [], frame(n, w))), ("Decisions", decisions_panel(decisions(n), frame(n, w)))],
        frame(n, w),
    ),
    "column_panel": lambda n, w: column_panel(
        ColumnShares(edges=[str(e) for e in range(33)], now=[1 / 32] * 32, reference=[1 / 32] * 32), frame(n, w)
    ),
    "segments_panel": lambda n, w: segments_panel(
        [SegmentGain(name=f"s{i}", gain=i - 2.0, low=i - 3.0, high=i - 1.0) for i in range(n)], frame(n, w)
    ),
    "calibration_panel": lambda n, w: calibration_panel(
        [("champion", [CalibrationBin(said=0.2, happened=0.3, rows=9, low=0.1, high=0.5)])], frame(n, w)
    ),
    "frontier_panel": lambda n, w: frontier_panel(
        [PolicyPoint(name=str(i), trainings=i, saved=1.0 * i, low=0.0, high=9.0, on_frontier=i != 2) for i in range(5)],
        frame(n, w),
        unit="USD",
    ),
    "savings_panel": lambda n, w: savings_panel(
        [("never", [0.0] * n), ("weekly", [1.0 * i for i in range(n)])], [w.start for w in windows(n)], frame(n, w)
    ),
    "runs_panel": lambda n, w: runs_panel(
        [
            RunPoint(name=str(i), time=w.start, value=w.value or 0.0, registered=i % 2 == 0)
            for i, w in enumerate(windows(n))
        ],
        frame(n, w),
        metric="log loss",
    ),
    "gates_panel": lambda n, w: gates_panel(
        [
            GateMark(name="accuracy", value=0.8, low=0.7, high=0.9, threshold=0.75, higher_is_better=True),
            GateMark(name="bias", value=0.1, low=0.05, high=0.2, threshold=0.15, verdict="warn"),
            GateMark(name="p99", value=30.0, threshold=20.0, verdict="fail"),
        ],
        frame(n, w),
    ),
    "batches_panel": lambda n, w: batches_panel(
        [BatchBar(name=f"b@{i}", rows=i + 1, verdict=("pass", "warn", "fail")[i % 3]) for i in range(n)], frame(n, w)
    ),
    "p_values_panel": lambda n, w: p_values_panel(
        [PValue(name=str(i), p=0.5, p_seq=0.2) for i in range(n)], frame(n, w), level=0.05
    ),
    "cost_panel": lambda n, w: cost_panel(
        [CostBar(month="2026-01", kind="training", value=2.0)], frame(n, w), currency="USD"
    ),
}
