"""Charts as SVG and PNG, and the script for browsers: made in a child process."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kit.waiting import wait_for
from trimtab.charts import svg
from trimtab.charts.browser_bundle import browser_bundle
from trimtab.charts.svg import draw_png, draw_svg
from trimtab.charts.theme import CSS, LIGHT, Frame, css_variables
from trimtab.charts.window_panels import WindowValue, loss_panel
from trimtab.errors import MissingExtra, StageError

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
WINDOWS = [WindowValue(start=BEGIN + n * DAY, end=BEGIN + (n + 1) * DAY, value=0.4 + n / 100) for n in range(9)]
FRAME = Frame(start=BEGIN, end=BEGIN + 9 * DAY, width=400)


def test_svg_keeps_the_variables_of_the_page() -> None:
    first, second = draw_svg([loss_panel(WINDOWS, [], FRAME), loss_panel([], [], FRAME)])
    assert 'fill="var(--champion)"' in first
    assert first.count("var(--champion)") >= len(WINDOWS)
    assert "no window has a value yet" in second
    assert "http" not in first.replace("http://www.w3.org/", "")


def test_png_is_an_image() -> None:
    (drawn,) = draw_png([loss_panel(WINDOWS, [], Frame(start=BEGIN, end=BEGIN + 9 * DAY, width=300, palette=LIGHT))])
    assert drawn.startswith(b"\x89PNG")


def test_a_chart_that_cannot_be_drawn_says_so() -> None:
    with pytest.raises(StageError, match="cannot be drawn"):
        draw_svg([{"mark": {"type": "no such mark"}}])


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'trimtab\[console\]'"):
        draw_svg([loss_panel(WINDOWS, [], FRAME)])


def test_building_charts_does_not_load_the_libraries_that_draw_them() -> None:
    code = (
        "import sys, trimtab.charts.window_panels, trimtab.charts.event_panels, trimtab.charts.choice_panels, "
        "trimtab.charts.distribution_panels, trimtab.charts.svg, trimtab.charts.browser_bundle; "
        "print([m for m in ('altair', 'vl_convert', 'numpy', 'pandas', 'polars') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_script_for_browsers_is_written_once_under_its_hash(tmp_path: Path) -> None:
    first = browser_bundle(tmp_path)
    written = first.stat().st_mtime_ns
    assert browser_bundle(tmp_path) == first
    assert first.stat().st_mtime_ns == written
    text = first.read_text(encoding="utf-8")
    assert "vegaEmbed" in text
    assert len(text) > 500_000
    assert not list(first.parent.glob(".*"))


def test_every_colour_is_a_variable_of_the_style_sheet() -> None:
    declared = css_variables(LIGHT)
    for use in ("champion", "challenger", "shadow", "minor", "moderate", "severe", "pass", "waits", "text", "muted"):
        assert CSS[use] == f"var(--{use})"
        assert f"--{use}: {LIGHT[use]};" in declared


def test_one_child_draws_for_all_threads_and_is_replaced_when_it_ends() -> None:
    chart = loss_panel(WINDOWS, [], FRAME)
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: draw_svg([chart])[0], range(8)))
    assert len(set(drawn)) == 1
    first = svg._DRAWER._process
    assert first is not None
    first.kill()
    first.wait()
    assert draw_svg([chart]) == [drawn[0]]
    assert svg._DRAWER._process is not first


def test_a_child_that_dies_says_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg, "PROGRAM", "import sys; sys.stdin.readline(); raise SystemExit('out of memory')")
    drawer = svg._Drawer()
    with pytest.raises(StageError, match="cannot be drawn: out of memory"):
        drawer.draw("svg", {})
    drawer.close()


def test_an_idle_child_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg, "IDLE_S", 0.01)
    drawer = svg._Drawer()
    drawer.draw("svg", loss_panel(WINDOWS, [], FRAME))
    wait_for(lambda: drawer._process is None, what="the end of the child")
