"""What holds for every chart: it fits the schema, has a description, a fixed axis, and few marks of full opacity."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import altair
import pytest

import trimtab.charts
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
from trimtab.charts.theme import AXIS_WIDTH, LIGHT, MOST_MARKS, Frame, Spec
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


def frame(count: int) -> Frame:
    return Frame(start=BEGIN, end=BEGIN + count * DAY, width=900)


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


CHARTS: dict[str, Callable[[int], Spec]] = {
    "loss_panel": lambda n: loss_panel(
        windows(n), [UsualRange(start=BEGIN, end=BEGIN + n * DAY, low=0.3, high=0.5)], frame(n)
    ),
    "metric_panel": lambda n: metric_panel(
        windows(n), frame(n), metric="p99", limits=[Level(name="limit 1", value=1.0)], zero=True
    ),
    "p_seq_panel": lambda n: p_seq_panel(windows(n), frame(n)),
    "money_panel": lambda n: money_panel(
        windows(n), windows(n), frame(n), currency="USD", levels=[Level(name="medium 1", value=1.0)]
    ),
    "gain_panel": lambda n: gain_panel(windows(n), windows(n), frame(n)),
    "gain_growth_panel": lambda n: gain_growth_panel(windows(n), frame(n)),
    "sparkline": lambda n: sparkline([w.value for w in windows(min(n, 30))]),
    "serves_panel": lambda n: serves_panel(
        [
            ServingSpan(role=r, version=2, start=BEGIN, end=BEGIN + n * DAY)
            for r in ("champion", "challenger", "shadow")
        ],
        frame(n),
    ),
    "decisions_panel": lambda n: decisions_panel(decisions(n), frame(n)),
    "signals_panel": lambda n: signals_panel(signals(n), frame(n)),
    "timelines_panel": lambda n: timelines_panel(spans(9, "never"), [Act(row="never", time=BEGIN + DAY)], frame(n)),
    "health_panel": lambda n: health_panel(spans(n), frame(n)),
    "model_panels": lambda n: model_panels(
        [("Loss", loss_panel(windows(n), [], frame(n))), ("Decisions", decisions_panel(decisions(n), frame(n)))],
        frame(n),
    ),
    "column_panel": lambda n: column_panel(
        ColumnShares(edges=[str(e) for e in range(33)], now=[1 / 32] * 32, reference=[1 / 32] * 32), frame(n)
    ),
    "segments_panel": lambda n: segments_panel(
        [SegmentGain(name=f"s{i}", gain=i - 2.0, low=i - 3.0, high=i - 1.0) for i in range(n)], frame(n)
    ),
    "calibration_panel": lambda n: calibration_panel(
        [("champion", [CalibrationBin(said=0.2, happened=0.3, rows=9, low=0.1, high=0.5)])], frame(n)
    ),
    "frontier_panel": lambda n: frontier_panel(
        [PolicyPoint(name=str(i), trainings=i, saved=1.0 * i, low=0.0, high=9.0, on_frontier=i != 2) for i in range(5)],
        frame(n),
        unit="USD",
    ),
    "savings_panel": lambda n: savings_panel(
        [("never", [0.0] * n), ("weekly", [1.0 * i for i in range(n)])], [w.start for w in windows(n)], frame(n)
    ),
    "runs_panel": lambda n: runs_panel(
        [
            RunPoint(name=str(i), time=w.start, value=w.value or 0.0, registered=i % 2 == 0)
            for i, w in enumerate(windows(n))
        ],
        frame(n),
        metric="log loss",
    ),
    "gates_panel": lambda n: gates_panel(
        [
            GateMark(name="accuracy", value=0.8, low=0.7, high=0.9, threshold=0.75, verdict=v)
            for v in ("pass", "warn", "fail")
        ],
        frame(n),
    ),
    "batches_panel": lambda n: batches_panel(
        [BatchBar(name=f"b@{i}", rows=i + 1, verdict=("pass", "warn", "fail")[i % 3]) for i in range(n)], frame(n)
    ),
    "p_values_panel": lambda n: p_values_panel(
        [PValue(name=str(i), p=0.5, p_seq=0.2) for i in range(n)], frame(n), level=0.05
    ),
    "cost_panel": lambda n: cost_panel(
        [CostBar(month="2026-01", kind="training", value=2.0)], frame(n), currency="USD"
    ),
}


def nodes(spec: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a chart without its data."""
    if isinstance(spec, dict):
        yield spec
        for key, value in spec.items():
            if key != "values":
                yield from nodes(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from nodes(value)


def marks(spec: Any, rows: int = 0) -> int:
    """Return how many marks a panel draws: a line or an area is one. rows: of the data of the layers above."""
    if "data" in spec:
        rows = len(spec["data"]["values"])
    below = [*spec.get("layer", ()), *spec.get("vconcat", ())]
    own = 0 if "mark" not in spec else 1 if spec["mark"]["type"] in ("line", "area") else rows
    return own + sum(marks(part, rows) for part in below)


@pytest.mark.parametrize("name", CHARTS)
def test_fits_the_schema_of_vega_lite(name: str) -> None:
    altair.Chart.from_dict(CHARTS[name](8), validate=True)


def test_a_chart_of_a_page_fits_the_schema() -> None:
    """It has expressions where one for a file has numbers."""
    for spec in (signals_panel(signals(8), Frame()), metric_panel(windows(8), Frame(), metric="p99")):
        altair.Chart.from_dict(spec, validate=True)


@pytest.mark.parametrize("name", CHARTS)
def test_says_what_it_shows_with_and_without_data(name: str) -> None:
    assert len(CHARTS[name](40)["description"]) > 10


@pytest.mark.parametrize("name", CHARTS)
def test_draws_few_marks_of_ten_thousand_windows(name: str) -> None:
    spec = CHARTS[name](10_000)
    panels = spec["vconcat"] if name == "model_panels" else [spec]
    for panel in panels:
        assert 0 < marks(panel) <= MOST_MARKS


@pytest.mark.parametrize("name", CHARTS)
def test_no_mark_is_transparent(name: str) -> None:
    """An area of bounds behind the marks may be; what carries meaning may not."""
    for node in nodes(CHARTS[name](40)):
        assert node.get("opacity", 1) == 1
        assert "strokeOpacity" not in node
        assert "fillOpacity" not in node or node["type"] in ("rect", "area")


@pytest.mark.parametrize("name", sorted(set(CHARTS) - {"sparkline"}))
def test_the_plot_begins_at_the_same_place_in_all_panels(name: str) -> None:
    widths = {node[end] for node in nodes(CHARTS[name](40)) for end in ("minExtent", "maxExtent") if end in node}
    assert widths == {AXIS_WIDTH}


@pytest.mark.parametrize("name", CHARTS)
def test_times_are_utc(name: str) -> None:
    for node in nodes(CHARTS[name](40)):
        if node.get("type") == "temporal":
            assert node["scale"]["type"] == "utc"


def test_every_builder_is_tested_here() -> None:
    found = set()
    for module in pkgutil.iter_modules(trimtab.charts.__path__):
        members = vars(importlib.import_module(f"trimtab.charts.{module.name}"))
        found |= {
            n for n, m in members.items() if inspect.isfunction(m) and n.endswith(("_panel", "_panels", "sparkline"))
        }
    assert {name for name in found if not name.startswith("_")} == set(CHARTS)


def test_colours_can_be_fixed_for_a_file_that_has_no_style_sheet() -> None:
    spec = loss_panel(windows(9), [], Frame(start=BEGIN, end=BEGIN + 9 * DAY, width=400, palette=LIGHT))
    assert "var(" not in str(spec)
    assert LIGHT.champion in str(spec)
