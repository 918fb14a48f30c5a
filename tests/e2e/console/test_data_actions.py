"""What people do on the pages of data and backtests, and what is in the stores afterwards."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from kit.browsers import Watched
from kit.waiting import wait_for
from trimtab.app.operations.backtest_orders import order_ids, read_order
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.records.data import QuarantineEnd
from trimtab.records.training import Run

pytestmark = pytest.mark.browser

PATIENCE_MS = 300_000
REASON = "a broken sensor, not weather"


@pytest.fixture
def workspace(shown: Path) -> Workspace:
    return open_workspace(shown)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_of_data_and_records_draw_without_trouble(
    browser: Browser, address: str, workspace: Workspace, width: int, scheme: str
) -> None:
    run = workspace.metadata.find(Run, refit_of=None, limit=1)[0]
    feature = workspace.model().feature_names[0]
    watched = Watched(browser, address, width=width, scheme=scheme)
    for path in (
        "/cost", "/experiments", f"/experiments/{run.id}", f"/lineage/{run.id}", "/data", "/data/tables/flights",
        f"/data/features/{feature}", "/system", "/models/delay/backtest",
    ):  # fmt: skip
        page = watched.open(path)
        watched.drawn()
        assert watched.violations() == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    watched.close()


def test_a_row_in_quarantine_is_dropped_with_a_reason(page: Page, watched: Watched, workspace: Workspace) -> None:
    watched.open("/data")
    page.get_by_role("button", name="Drop").first.click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_role("textbox").fill(REASON)
    dialog.get_by_role("button", name="Drop").click()
    expect(page.get_by_text("No row is held.")).to_be_visible(timeout=PATIENCE_MS)
    (end,) = workspace.metadata.find(QuarantineEnd)
    assert (end.table, end.outcome, end.reason) == ("weather", "dropped", REASON)


def test_a_backtest_starts_from_its_page_and_can_be_left(page: Page, watched: Watched, workspace: Workspace) -> None:
    before = workspace.metadata.positions()
    watched.open("/models/delay/backtest")
    page.get_by_role("button", name="Run a backtest").click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_label("Policies, one a line").fill("never\nevery:28d")
    dialog.get_by_label("Reason").fill("to compare calendars")
    dialog.get_by_role("button", name="Run a backtest").click()
    expect(dialog).to_be_hidden(timeout=PATIENCE_MS)
    (id_,) = wait_for(lambda: order_ids(workspace), what="the order")
    order = read_order(workspace, id_)
    assert (order.policies, order.reason) == (("never", "every:28d"), "to compare calendars")
    expect(page.locator("h1")).to_contain_text(re.compile("The backtest|would have"), timeout=PATIENCE_MS)
    assert page.request.get(f"{watched.address}/models/delay/backtest/{id_}").status == 200
    with suppress(ProcessLookupError):
        os.kill(order.pid, signal.SIGKILL)
    assert workspace.metadata.positions() == before, "a backtest writes no record"
