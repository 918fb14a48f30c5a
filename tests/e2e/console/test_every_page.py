"""Every page with real data: it opens, draws its charts, is accessible, fits a phone, and reads without script."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from kit.browsers import Watched
from trimtab.app.project.workspace import open_workspace
from trimtab.records.control import Decision
from trimtab.records.training import Run
from trimtab.stores.metadata.contract import latest

pytestmark = pytest.mark.browser

PAGES = (
    "/", "/models", "/models/delay", "/models/delay/windows/2013-03-09T00:00Z", "/decisions",
    "/models/delay/decisions/{decision}", "/models/delay/compare", "/models/delay/backtest", "/data",
    "/data/tables/flights", "/experiments", "/experiments/{run}", "/lineage", "/lineage?id={run}", "/cost", "/system",
)  # fmt: skip


@pytest.fixture(scope="module")
def paths(shown: Path) -> dict[str, str]:
    """Template of a path -> path."""
    metadata = open_workspace(shown).metadata
    decision, run = latest(metadata, Decision), latest(metadata, Run)
    assert decision is not None
    assert run is not None
    return {path: path.format(decision=decision.number, run=run.id) for path in PAGES}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_opens_draws_and_is_accessible(watched: Watched, paths: dict[str, str], path: str) -> None:
    page = watched.open(paths[path])
    watched.drawn()
    assert page.locator("h1").inner_text()
    assert page.locator("nav a[aria-current=page]").count() == 1
    assert watched.violations() == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_phone_in_the_dark(browser: Browser, address: str, paths: dict[str, str], path: str) -> None:
    watched = Watched(browser, address, width=390, scheme="dark")
    page = watched.open(paths[path])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert watched.violations() == []
    watched.close()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_reads_without_script(browser: Browser, address: str, paths: dict[str, str], path: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    answer = page.goto(address + paths[path])
    assert answer is not None
    assert answer.status == 200
    assert page.locator("h1").inner_text()
    assert page.locator("main table, main .empty, main dl, main form").count() > 0
    context.close()
