"""What is decided where models are refreshed by routine: each cell of the table."""

from __future__ import annotations

import pytest

from trimtab.control.cause import Cause
from trimtab.control.history import ControlHistory
from trimtab.control.refresh import Due
from trimtab.control.routine import Situation, decide_due, decide_with_refresh
from trimtab.control.suspicion import Quarantined
from trimtab.control.way_back import Lead
from trimtab.policy.reader import parse_policy
from trimtab.records.control import Suspicion, SuspicionEnd
from trimtab.testing.judged import FIRST, MODEL, judged_signals, window_report

POLICY = parse_policy("project: p\nimpact: { cost: { false_negative: 40 } }\nretrain: { refresh: { every: 7d } }\n")
RARE = parse_policy("project: p\nimpact: { cost: { false_negative: 40 } }\nretrain: { refresh: { every: 28d } }\n")
DUE = Due(trigger="routine", reason="routine: it is time")
CLEAR = Lead(version=1, windows=12, gain=0.01, errors=3.2, over_champion=0.01, champion_windows=5)
AHEAD = Lead(version=1, windows=12, gain=0.01, errors=1.0, over_champion=0.01)
BEHIND = Lead(version=1, windows=12, gain=-0.01, errors=-1.0, over_champion=-0.01)
WINDOW = window_report(5, version=2)
FOUND = Suspicion(
    id="s",
    created_at=FIRST,
    model=MODEL,
    start=WINDOW.start,
    end=WINDOW.end,
    rule="inputs",
    subject="wind",
    value=3.0,
    limit=2.0,
    known_at=WINDOW.end,
    reason="the mean of wind leapt",
)
ENDED = SuspicionEnd(
    id="s/end",
    created_at=FIRST,
    model=MODEL,
    start=WINDOW.start,
    suspicion="s",
    outcome="new_world",
    known_at=WINDOW.end,
    reason="21 windows in a row",
    by="policy",
)
BEGINS = Quarantined(found=(FOUND,), suspected=True, run=1)
GOES_ON = Quarantined(found=(FOUND,), suspected=True, run=4)
OVER = Quarantined(ended=(ENDED,))


def cause(p_seq: float = 1.0, p: float = 0.5) -> Cause:
    return Cause(window=WINDOW, signals=tuple(judged_signals(WINDOW, data_p_seq=p_seq / 2, p=p)))


HISTORY = ControlHistory(champion=2, previous=1)


@pytest.mark.parametrize(
    ("situation", "p_seq", "action", "trigger"),
    [
        (Situation(), 1.0, "monitor", "matrix"),
        (Situation(due=DUE), 1.0, "retrain", "routine"),
        (Situation(leads=(BEHIND,), due=DUE), 1.0, "retrain", "routine"),
        (Situation(leads=(AHEAD,)), 1.0, "monitor", "matrix"),
        (Situation(leads=(AHEAD,), due=DUE), 1.0, "retrain", "routine"),
        (Situation(leads=(CLEAR,), due=DUE), 1.0, "rollback", "lead"),
        (Situation(), 0.001, "monitor", "matrix"),
        (Situation(leads=(AHEAD,)), 0.001, "retrain", "matrix"),
        (Situation(leads=(CLEAR,)), 0.001, "rollback", "lead"),
        (Situation(quarantined=BEGINS), 1.0, "review", "matrix"),
        (Situation(quarantined=BEGINS), 0.001, "review", "matrix"),
        (Situation(quarantined=GOES_ON), 0.001, "monitor", "matrix"),
        (Situation(quarantined=BEGINS, due=DUE), 0.001, "retrain", "routine"),
        (Situation(quarantined=BEGINS, leads=(AHEAD,)), 1.0, "review", "matrix"),
        (Situation(quarantined=BEGINS, leads=(CLEAR,), due=DUE), 1.0, "rollback", "lead"),
        (Situation(quarantined=OVER), 1.0, "review", "matrix"),
        (Situation(quarantined=OVER, leads=(CLEAR,)), 1.0, "review", "matrix"),
    ],
)
def test_every_cell_of_the_table(situation: Situation, p_seq: float, action: str, trigger: str) -> None:
    draft = decide_with_refresh(cause(p_seq), POLICY, HISTORY, situation)
    assert (draft.action, draft.trigger) == (action, trigger)


def test_where_refreshes_are_rare_a_drift_starts_a_retraining_of_its_own_after_the_cooldown() -> None:
    assert decide_with_refresh(cause(0.001), RARE, HISTORY, Situation()).action == "retrain"
    assert decide_with_refresh(cause(0.011), RARE, HISTORY, Situation()).action == "monitor"
    recent = ControlHistory(champion=2, last_retrain=WINDOW.start)
    assert decide_with_refresh(cause(0.001), RARE, recent, Situation()).action == "monitor"


def test_a_suspicion_is_told_and_proposes_nothing_a_return_with_a_leading_shadow_does() -> None:
    told = decide_with_refresh(cause(), POLICY, HISTORY, Situation(quarantined=BEGINS))
    assert (told.action, told.cell) == ("review", "monitor")
    assert any("check the pipe first" in reason for reason in told.reasons)
    asked = decide_with_refresh(cause(), POLICY, HISTORY, Situation(quarantined=OVER, leads=(AHEAD,)))
    assert (asked.action, asked.cell) == ("review", "retrain")
    assert any("21 windows in a row" in reason for reason in asked.reasons)


def test_the_way_back_names_the_version_and_judges_the_present_champion() -> None:
    draft = decide_with_refresh(cause(), POLICY, ControlHistory(champion=3), Situation(leads=(CLEAR,)))
    assert (draft.to_version, draft.judged) == (1, 3)
    assert any("3.2 standard errors" in reason for reason in draft.reasons)


def test_a_routine_refresh_passes_the_cooldown_but_not_the_money_nor_a_retraining_under_way() -> None:
    situation = Situation(due=DUE)
    cooling = ControlHistory(champion=2, last_retrain=WINDOW.start, retrains=20)
    assert decide_with_refresh(cause(), POLICY, cooling, situation).action == "retrain"
    dear = ControlHistory(champion=2, spent=199.0, next_cost=2.0)
    assert decide_with_refresh(cause(), POLICY, dear, situation).action == "review"
    busy = ControlHistory(champion=2, running=1)
    assert decide_with_refresh(cause(), POLICY, busy, situation).action == "monitor"


def test_while_a_model_is_frozen_neither_a_refresh_nor_a_way_back_happens() -> None:
    frozen = ControlHistory(champion=2, frozen="delay is frozen by ann: an audit")
    for situation in (Situation(due=DUE), Situation(leads=(CLEAR,))):
        draft = decide_with_refresh(cause(), POLICY, frozen, situation)
        assert (draft.action, draft.reasons[-1]) == ("monitor", "delay is frozen by ann: an audit")
        assert draft.held_by == "frozen"


def test_new_data_start_a_retraining_without_a_refresh() -> None:
    draft = decide_due(cause(), parse_policy("project: p\n"), HISTORY, Due(trigger="data", reason="new data"))
    assert (draft.action, draft.trigger, draft.cell) == ("retrain", "data", "retrain")
