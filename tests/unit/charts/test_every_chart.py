"""What holds for every chart: it fits the schema, has a description, a fixed axis, and few marks of full opacity."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import altair
import pytest

import trimtab.charts
from kit.sample_charts import BEGIN, CHARTS, DAY, windows
from trimtab.charts.theme import AXIS_WIDTH, LIGHT, MOST_MARKS, Frame
from trimtab.charts.window_panels import loss_panel


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
    altair.Chart.from_dict(CHARTS[name](8, 900), validate=True)


def test_a_chart_of_a_page_fits_the_schema() -> None:
    """It has expressions where one for a file has numbers."""
    for name in ("signals_panel", "metric_panel"):
        altair.Chart.from_dict(CHARTS[name](8, None), validate=True)


@pytest.mark.parametrize("name", CHARTS)
def test_says_what_it_shows_with_and_without_data(name: str) -> None:
    assert len(CHARTS[name](40, 900)["description"]) > 10


@pytest.mark.parametrize("name", CHARTS)
def test_draws_few_marks_of_ten_thousand_windows(name: str) -> None:
    spec = CHARTS[name](10_000, 900)
    panels = spec["vconcat"] if name == "model_panels" else [spec]
    for panel in panels:
        assert 0 < marks(panel) <= MOST_MARKS


@pytest.mark.parametrize("name", CHARTS)
def test_no_mark_is_transparent(name: str) -> None:
    """An area of bounds behind the marks may be; what carries meaning may not."""
    for node in nodes(CHARTS[name](40, 900)):
        assert node.get("opacity", 1) == 1
        assert "strokeOpacity" not in node
        assert "fillOpacity" not in node or node["type"] in ("rect", "area")


@pytest.mark.parametrize("name", sorted(set(CHARTS) - {"sparkline"}))
def test_the_plot_begins_at_the_same_place_in_all_panels(name: str) -> None:
    widths = {node[end] for node in nodes(CHARTS[name](40, 900)) for end in ("minExtent", "maxExtent") if end in node}
    assert widths == {AXIS_WIDTH}


@pytest.mark.parametrize("name", CHARTS)
def test_times_are_utc(name: str) -> None:
    for node in nodes(CHARTS[name](40, 900)):
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
