"""The page of decisions and of one decision: counts, filters, pages, the chain, and why nothing else was done."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.operations.actors import Actor
from trimtab.app.operations.answers import answer
from trimtab.app.overviews.decision_detail import decision_detail
from trimtab.app.overviews.decision_overview import check_chain, decision_overview
from trimtab.app.overviews.window_detail import window_detail
from trimtab.app.pages.decision_report import decision_page
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.decision_list import BRAKES, DecisionFilter, list_decisions
from trimtab.control.brakes import NAMES
from trimtab.control.controller import Controller
from trimtab.errors import NotFound
from trimtab.records.control import Decision
from trimtab.testing.judged import DAY, FIRST, MODEL, RecordingActions, judged_signals, window_report

IMPACT = {"cost": {"false_negative": 40}, "medium": "500/day", "high": "1500/day", "over": "1d"}
DAYS = ((1.0, 0.0, 0.5), (0.001, 700.0, 0.5), (0.001, 700.0, 0.5), (1.0, 0.0, 0.004), (1.0, 600.0, 0.5))
"""Of each window: p_seq of the inputs, money lost a day, p of the window alone."""
ANN = Actor(name="ann", role="approver")


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Decisions 1 to 5: monitor; review; held back by the open review; the same, raised; monitor."""
    ws = GatewayProject(tmp_path / "project", impact=IMPACT).workspace
    for day, (p_seq, money, p) in enumerate(DAYS):
        window = window_report(day)
        ws.metadata.put(window, *judged_signals(window, data_p_seq=p_seq, p=p, money_per_day=money))
    Controller(ws.metadata, ws.project.policy.for_task("binary"), MODEL, RecordingActions(), ws.clock).step()
    yield ws
    ws.metadata.close()


def test_the_sentence_counts_what_waits_acted_and_was_held_back(workspace: Workspace) -> None:
    found = decision_overview(workspace, DecisionFilter())
    head = workspace.metadata.get(Decision, "delay/decision/5").hash[:8]
    assert found.sentence == (
        "1 retraining waits for an answer, while 700 USD a day are lost. 5 decisions: 1 acted, 1 held back. "
        f"The chain is whole (5 of 5, head {head})."
    )
    assert found.cells_note == "5 windows in the cells"
    assert [(w.number, w.proposes) for w in found.waits] == [(2, True)]
    assert {(c.band, c.impact): c.windows for c in found.cells if c.windows} == {
        ("minor", "low"): 2, ("minor", "medium"): 1, ("severe", "medium"): 2,
    }  # fmt: skip
    assert [(row.number, row.held_by) for row in found.rows] == [
        (5, ""),
        (4, "review open"),
        (3, "review open"),
        (2, ""),
        (1, ""),
    ]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (DecisionFilter(band="severe"), [3, 2]),
        (DecisionFilter(impact="medium", action="monitor"), [5, 3]),
        (DecisionFilter(effect="held_back"), [3]),
        (DecisionFilter(held_by="review_open"), [4, 3]),
        (DecisionFilter(since=FIRST + 2 * DAY, until=FIRST + 4 * DAY), [4, 3]),
        (DecisionFilter(cell="review"), [3, 2]),
        (DecisionFilter(answered_by="ann"), [2]),
        (DecisionFilter(answered_by="ben"), []),
    ],
)
def test_filters_and_pages_agree_with_all_decisions(
    workspace: Workspace, wanted: DecisionFilter, numbers: list[int]
) -> None:
    answer(workspace, ANN, "delay/decision/2", "reject", reason="holidays")
    assert [one.decision.number for one in list_decisions(workspace, wanted, limit=None)] == numbers
    found, before = [], None
    while True:
        page = decision_overview(workspace, wanted, limit=1, before=before)
        assert page.total == len(numbers)
        found += [row.number for row in page.rows]
        if page.next is None:
            break
        before = page.next
    assert found == numbers


def test_a_changed_decision_breaks_the_chain_and_is_named(workspace: Workspace, tmp_path: Path) -> None:
    assert check_chain(workspace, [MODEL], whole=True).broken == ""
    with closing(sqlite3.connect(tmp_path / "project" / ".trimtab" / "metadata.db")) as database, database:
        changed = """replace(body, '"impact":"medium"', '"impact":"low"')"""
        database.execute(f"UPDATE trimtab_decision SET body = {changed} WHERE number = 3")
    found = decision_overview(workspace, DecisionFilter())
    assert "The chain is broken: the ledger is broken at 'delay/decision/3'" in found.sentence
    assert "delay/decision/3" in decision_detail(workspace, MODEL, 3).links


def test_a_decision_is_shown_from_its_window_to_its_answer(workspace: Workspace) -> None:
    answer(workspace, ANN, "delay/decision/2", "reject", reason="holidays")
    found = decision_detail(workspace, MODEL, 2)
    assert found.unlike == ""
    assert found.sentence == (
        "2 Mar 2026 UTC: severe p-value (0.0020), medium impact (mistakes cost 700 USD a day more than they had to); a "
        "person was asked. ann answered: reject."
    )
    assert found.correction == "0.0010 × 2 = 0.0020: the smallest of 2 p-values, times their number"
    assert [(m.band, m.here) for m in found.matrix] == [("minor", None), ("moderate", None), ("severe", "medium")]
    assert [b.name for b in found.brakes] == list(NAMES.values())
    assert {b.state for b in found.brakes} == {"did not apply"}
    assert {w.action: w.text for w in found.why_not}["retrain"] == "1,500 USD a day or more, surely (was 700)"
    assert (found.before, found.after, found.links) == (1, 3, "")
    # and the one that was held back says by what
    held = [b for b in decision_detail(workspace, MODEL, 3).brakes if b.state == "held back"]
    assert [(b.word, b.reason) for b in held] == [("review open", "a review is already open (delay/decision/2)")]


def test_a_decision_that_its_records_do_not_give_any_more_says_so(workspace: Workspace) -> None:
    # given a policy that was changed without a record of the one before
    policy = workspace.project.policy
    impact = policy.impact.model_copy(update={"medium": 900.0})
    object.__setattr__(workspace.project, "policy", policy.model_copy(update={"impact": impact}))
    found = decision_detail(workspace, MODEL, 2)
    assert found.unlike == "the policy of its time is not recorded"
    assert (found.why_not, {b.state for b in found.brakes}) == ((), {"not known"})


def test_a_decision_says_what_led_to_it_and_how_it_differs_from_the_policy(workspace: Workspace) -> None:
    raised, held = decision_detail(workspace, MODEL, 2), decision_detail(workspace, MODEL, 3)
    assert (raised.matrix_note, raised.what_was_done) == ("", "A person was asked; what led to it: the matrix.")
    assert held.what_was_done.startswith("Nothing was done (held back by review open")
    other = msgspec.structs.replace(
        workspace.metadata.get(Decision, "delay/decision/1"), id="delay/decision/6", number=6, action="review",
        reasons=("rows are suspected", "a person is told"),
    )  # fmt: skip
    workspace.metadata.put(other)
    found = decision_detail(workspace, MODEL, 6)
    assert found.matrix_note == "Not the matrix decided here, but the rules of retrain.refresh."
    assert found.what_was_done == (
        "A person was asked (raised: the policy said monitor); what led to it: the rules of retrain.refresh."
    )
    page = decision_page(workspace, MODEL, 6)
    assert found.what_was_done in page
    assert found.matrix_note in page
    assert page.count("rows are suspected") == 1


def test_a_signal_has_one_name_on_the_pages_of_its_window_and_its_decision(workspace: Workspace) -> None:
    detail = decision_detail(workspace, MODEL, 2)
    assert detail.window is not None
    window = window_detail(workspace, MODEL, detail.window.start)
    assert {s.kind for s in detail.signals} == {note.words for note in window.notes} >= {"money", "inputs"}


def test_a_number_that_is_none_is_not_found(workspace: Workspace) -> None:
    with pytest.raises(NotFound, match="has no decision 9; its decisions are 1 to 5"):
        decision_detail(workspace, MODEL, 9)


def test_every_brake_has_a_word() -> None:
    assert set(BRAKES) == set(NAMES.values())
