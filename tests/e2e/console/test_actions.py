"""What a person does in the pages, and what is in the stores afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from e2e.kit import WINDOW, Up, edit_policy
from kit.browsers import Watched
from kit.decisions import decide
from kit.waiting import wait_for
from trimtab.app.gateway import tokens
from trimtab.app.loop.workflow_names import workflow_id
from trimtab.app.project.console_process import running_console
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.records.control import Decision, Resolution, RetrainRequest, WorkflowStep
from trimtab.records.data import QuarantineEnd
from trimtab.records.record import Record
from trimtab.records.serving import Revision, TokenRevocation
from trimtab.stores.metadata.contract import latest

pytestmark = pytest.mark.browser

REASON = "looked at the windows of last week"
PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def workspace(shown: Path) -> Workspace:
    """The project that the console shows."""
    return open_workspace(shown)


def open_dialog(page: Page, verb: str) -> Locator:
    """Press a button and return the dialog that asks for the reason."""
    page.get_by_role("button", name=verb, exact=True).first.click()
    return page.locator("dialog[open]")


def confirm(page: Page, verb: str) -> None:
    """Press a button, give a reason, and confirm; the dialog closes when the record is there."""
    dialog = open_dialog(page, verb)
    dialog.get_by_label("Reason").fill(REASON)
    dialog.get_by_role("button", name=verb, exact=True).click()
    expect(dialog).to_have_count(0, timeout=PATIENCE_MS)


def newest(workspace: Workspace, kind: type[Record]) -> Record | None:
    """Return the newest record of a kind."""
    return latest(workspace.metadata, kind)


def test_a_promotion_and_its_rollback_are_revisions(watched: Watched, workspace: Workspace) -> None:
    before = newest(workspace, Revision)
    assert isinstance(before, Revision)
    page = watched.open("/models/delay")
    for number, (verb, action) in enumerate((("Promote", "promote"), ("Roll back", "rollback")), before.number + 1):
        confirm(page, verb)
        after = newest(workspace, Revision)
        assert isinstance(after, Revision)
        assert (after.number, after.action, after.reason) == (number, action, REASON)


def test_a_retraining_is_asked_for_once_however_often_the_button_is_pressed(
    watched: Watched, workspace: Workspace
) -> None:
    page = watched.open("/models/delay")
    dialog = open_dialog(page, "Retrain")
    dialog.get_by_label("Reason").fill(REASON)
    dialog.get_by_role("button", name="Retrain", exact=True).dblclick()
    expect(dialog).to_have_count(0, timeout=PATIENCE_MS)
    found = workspace.metadata.find(RetrainRequest, model="delay")
    assert [each.reason for each in found] == [REASON]


def test_a_reason_that_is_too_short_sends_nothing(watched: Watched, workspace: Workspace) -> None:
    page = watched.open("/models/delay")
    dialog = open_dialog(page, "Retrain")
    dialog.get_by_label("Reason").fill("short")
    dialog.get_by_role("button", name="Retrain", exact=True).click()
    expect(dialog).to_have_count(1)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert workspace.metadata.count(RetrainRequest, model="delay") <= 1


def test_rows_in_quarantine_are_dropped(watched: Watched, workspace: Workspace) -> None:
    page = watched.open("/data")
    confirm(page, "Drop")
    assert newest(workspace, QuarantineEnd) is not None


def test_a_token_is_revoked(watched: Watched, workspace: Workspace) -> None:
    tokens.create(workspace.metadata, workspace.clock, "old-app", by="test")
    page = watched.open("/system")
    confirm(page, "Revoke")
    found = newest(workspace, TokenRevocation)
    assert isinstance(found, TokenRevocation)
    assert (found.token, found.reason) == ("old-app#1", REASON)


def test_a_page_shows_what_is_written_elsewhere_without_a_reload(watched: Watched, workspace: Workspace) -> None:
    page = watched.open("/decisions")
    expect(page.locator("#live")).to_have_text("connected")  # neither a loop nor a gateway runs
    before = page.locator("nav .count").inner_text() if page.locator("nav .count").count() else "0"
    decision = decide(workspace, "review", start=WINDOW)
    expect(page.locator("nav .count")).not_to_have_text(before, timeout=PATIENCE_MS)
    expect(page.locator("main")).to_contain_text(f"delay {decision.number}")


def test_times_and_colours_follow_the_choice_of_the_reader(watched: Watched) -> None:
    page = watched.open("/models/delay/decisions/1")
    instant = page.locator("time.instant").first
    expect(instant).to_contain_text("UTC")
    page.keyboard.press("t")
    expect(instant).to_contain_text("GMT-")
    page.get_by_role("button", name="auto").click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-scheme", "light")
    expect(page.locator("html")).to_have_attribute("data-zone", "local")


def test_keys_open_sections_and_can_be_turned_off(watched: Watched) -> None:
    page = watched.open("/cost")
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url("**/decisions")
    page.keyboard.press("?")
    page.get_by_label("single keys are on").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") != "find"


@pytest.fixture
def steered(project: Path) -> Iterator[Up]:
    """`trimtab up` with a review that waits, and a console that asks for a token."""
    decide(open_workspace(project), "review", start=WINDOW)
    edit_policy(project, console={"authentication": "tokens", "port": 0})
    up = Up(project, "--console")
    up.start()
    yield up
    up.interrupt()


def signed_in(browser: Browser, address: str, secret: str) -> Watched:
    """Return a page of a person who has signed in."""
    watched = Watched(browser, address)
    page = watched.open("/sign-in")
    page.get_by_label("Token").fill(secret)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("nav a[aria-current=page]")
    return watched


def test_an_approval_in_the_page_moves_the_waiting_retraining(browser: Browser, steered: Up) -> None:
    # given a viewer and an approver
    workspace = open_workspace(steered.folder)
    wait_for(lambda: running_console(workspace.run_folder) is not None, "the console runs")
    found = running_console(workspace.run_folder)
    assert found is not None
    decision = newest(workspace, Decision)
    assert isinstance(decision, Decision)
    secrets = {
        role: tokens.create(workspace.metadata, workspace.clock, role, verbs=("read",), role=role, by="test")[1]
        for role in ("viewer", "approver")
    }
    # when the viewer looks, then the button is there, and says which role it needs
    viewer = signed_in(browser, found.url, secrets["viewer"])
    page = viewer.open(f"/models/delay/decisions/{decision.number}")
    button = page.get_by_role("button", name="Approve retraining")
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(page.locator("main")).to_contain_text("needs the role approver on delay")
    refused = page.request.post(
        f"{found.url}/api/v1/models/delay/decisions/{decision.number}/resolution",
        data={"verdict": "approve", "reason": REASON},
        headers={"authorization": f"Bearer {secrets['viewer']}"},
    )
    assert (refused.status, refused.json()["detail"]) == (403, "needs the role approver on delay")
    viewer.close()
    # when the approver approves, then the retraining starts
    approver = signed_in(browser, found.url, secrets["approver"])
    confirm(approver.open(f"/models/delay/decisions/{decision.number}"), "Approve retraining")
    approver.close()
    answer = newest(workspace, Resolution)
    assert isinstance(answer, Resolution)
    assert (answer.verdict, answer.by, answer.reason) == ("approve", "approver", REASON)
    workflow = workflow_id(decision.id)
    wait_for(lambda: workspace.metadata.count(WorkflowStep, workflow=workflow) > 0, "the retraining starts")
