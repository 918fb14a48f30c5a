"""What people answer and change on the pages of decisions and comparisons, and what is in the stores afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from kit.browsers import Watched
from kit.decisions import decide
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.control.resolve import resolve
from trimtab.records.control import Decision, Resolution
from trimtab.records.record import Role
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import latest
from trimtab.testing.judged import DAY, FIRST

pytestmark = pytest.mark.browser

PATIENCE_MS = 120_000
REASON = "the new terminal is open"
ROLES: tuple[Role, ...] = ("champion", "challenger")


@pytest.fixture
def workspace(shown: Path) -> Iterator[Workspace]:
    opened = open_workspace(shown)
    yield opened
    opened.metadata.close()


def say(page: Page, verb: str) -> None:
    """Open the dialog of a button, give a reason, and send it."""
    page.get_by_role("button", name=verb, exact=True).first.click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_role("textbox").fill(REASON)
    dialog.get_by_role("button", name=verb, exact=True).click()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_of_decisions_and_comparisons_draw_without_trouble(
    browser: Browser, address: str, workspace: Workspace, width: int, scheme: str
) -> None:
    acted = workspace.metadata.find(Decision, action=("review", "retrain"), limit=1)
    watched = Watched(browser, address, width=width, scheme=scheme)
    for path in (
        "/decisions", "/decisions?band=minor&impact=low", *(f"/models/delay/decisions/{d.number}" for d in acted),
        "/models/delay/compare",
    ):  # fmt: skip
        page = watched.open(path)
        watched.drawn()
        assert watched.violations() == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    watched.close()


def test_a_review_is_approved_with_a_reason(page: Page, watched: Watched, workspace: Workspace) -> None:
    decision = decide(workspace, start=FIRST + 4 * DAY)
    watched.open(f"/models/delay/decisions/{decision.number}")
    say(page, "Approve retraining")
    expect(page.locator("#answer")).to_contain_text(REASON, timeout=PATIENCE_MS)
    found = latest(workspace.metadata, Resolution, decision=decision.id)
    assert found is not None
    assert (found.verdict, found.reason) == ("approve", REASON)


def test_an_answer_that_came_meanwhile_is_shown_in_the_dialog(
    browser: Browser, address: str, workspace: Workspace
) -> None:
    decision = decide(workspace, start=FIRST + 5 * DAY)
    watched = Watched(browser, address)
    page = watched.open("/decisions")
    resolve(workspace.metadata, decision.id, "reject", "it is a holiday", "ben", workspace.clock)
    page.locator(f"#reject-delay-{decision.number}").evaluate("dialog => dialog.showModal()")
    dialog = page.locator("dialog[open]")
    dialog.get_by_role("textbox").fill(REASON)
    dialog.get_by_role("button", name="Reject").click()
    expect(dialog.locator(".refusal")).to_contain_text("was answered by ben", timeout=PATIENCE_MS)
    assert [r.by for r in workspace.metadata.find(Resolution, decision=decision.id)] == ["ben"]
    watched.troubles = [each for each in watched.troubles if "409" not in each]
    watched.close()


def test_a_version_that_is_compared_is_taken_back(page: Page, watched: Watched, workspace: Workspace) -> None:
    now = open_rollouts(workspace, "delay").current()
    assert now is not None
    champion, challenger = (workspace.metadata.get(Bundle, str(now.bundle_in(role))) for role in ROLES)
    watched.open(f"/models/delay/compare?with={challenger.version},{champion.version}")
    say(page, "Take back")
    expect(page.locator("h1")).to_contain_text("It was taken back", timeout=PATIENCE_MS)
    newest = latest(workspace.metadata, Revision, model="delay")
    assert newest is not None
    assert (newest.action, newest.reason, newest.bundle_in("challenger")) == ("abandon", REASON, None)
