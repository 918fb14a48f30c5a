"""The pages of the loop, a model and a window in Chromium: drawn, reachable by keys, with effects in the stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from kit.browsers import Watched
from kit.decisions import decide
from kit.waiting import wait_for
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.records.control import Resolution
from trimtab.records.monitoring import WindowReport

MODEL = "/models/delay"


@pytest.fixture
def workspace(shown: Path) -> Iterator[Workspace]:
    opened = open_workspace(shown)
    yield opened
    opened.metadata.close()


@pytest.fixture
def newest(workspace: Workspace) -> WindowReport:
    """The newest matured window of the champion."""
    return workspace.metadata.find(WindowReport, model="delay", role="champion", stage="matured", limit=1)[0]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_are_drawn_and_fit_and_anyone_can_use_them(
    browser: Browser, address: str, newest: WindowReport, width: int, scheme: str
) -> None:
    window = f"{MODEL}/windows/{newest.start:%Y-%m-%dT%H:%MZ}?version={newest.version}"
    for path in ("/", "/models", MODEL, window):
        watched = Watched(browser, address, width=width, scheme=scheme)
        page = watched.open(path)
        watched.drawn()
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0, path
        assert watched.violations() == [], path
        watched.close()


def test_the_slider_moves_through_the_windows_and_opens_one(watched: Watched, workspace: Workspace) -> None:
    page = watched.open(MODEL)
    watched.drawn()
    slider = page.locator("#reading")
    slider.focus()
    last = int(slider.get_attribute("aria-valuemax") or 0)
    starts = sorted({w.start for w in workspace.metadata.find(WindowReport, model="delay", role="champion")})
    assert last == len(starts) - 1
    for key, place in (("Home", 0), ("ArrowRight", 1), ("PageUp", 8), ("PageDown", 1), ("ArrowLeft", 0), ("End", last)):
        page.keyboard.press(key)
        assert slider.get_attribute("aria-valuenow") == str(place), key
        assert (slider.get_attribute("aria-valuetext") or "").startswith(f"{starts[place].day} Mar")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{MODEL}/windows/**")
    assert "2013-03-01" in page.url


def test_a_drag_over_a_chart_zooms_all_of_them_and_is_in_the_address(watched: Watched) -> None:
    page = watched.open(MODEL)
    watched.drawn()
    drag(page, 0.35, 0.65)
    page.wait_for_url("**from=2013-03-*&to=2013-03-*")
    page.wait_for_selector("html[data-ready]", state="attached")
    shown = page.locator("#timeline")
    since, until = (int(shown.get_attribute(name) or 0) for name in ("data-since", "data-until"))
    assert 2 <= (until - since) / 86_400_000 <= 8
    page.go_back()
    page.wait_for_url(f"**{MODEL}")


def test_rows_of_a_window_come_after_the_page(watched: Watched, newest: WindowReport) -> None:
    page = watched.open(f"{MODEL}/windows/{newest.start:%Y-%m-%dT%H:%MZ}?version={newest.version}")
    page.wait_for_selector("#sampled table", timeout=120_000)
    assert f"of {newest.rows:,} rows" in page.locator("#sampled").inner_text()


def test_an_answer_on_the_first_page_is_in_the_records_and_off_the_page(
    watched: Watched, workspace: Workspace, newest: WindowReport
) -> None:
    decision = decide(workspace, "review", model="delay", start=newest.end)
    page = watched.open("/")
    asked = page.locator("#waits li", has=page.get_by_role("link", name=f"delay {decision.number}"))
    asked.get_by_role("button", name="Reject").click()
    dialog = page.locator("dialog[open]")
    dialog.locator("textarea").fill("looked at it in a test")
    dialog.locator("button[type=submit]").click()
    wait_for(lambda: bool(workspace.metadata.find(Resolution, decision=decision.id)), "the answer is written")
    answer = workspace.metadata.find(Resolution, decision=decision.id)[0]
    assert (answer.verdict, answer.reason) == ("reject", "looked at it in a test")
    wait_for(lambda: asked.count() == 0, "the page no longer shows it")


def drag(page: Page, first: float, last: float) -> None:
    """Drag over a part of the chart of losses; shares of its width."""
    chart = page.locator("#chart-loss .drawing")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + first * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + last * box["width"], y, steps=5)
    page.mouse.up()
