"""Each brake: what it softens, to what, and the sentence it gives."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from trimtab.control.brakes import BRAKES, NAMES
from trimtab.control.cause import Cause
from trimtab.control.decision import Draft, decide
from trimtab.control.history import ControlHistory
from trimtab.policy.reader import parse_policy
from trimtab.records.monitoring import CHECKS
from trimtab.testing.judged import FIRST, judged_signals, signal, window_report

POLICY = """
project: flights
impact: { cost: { false_negative: 40, false_positive: 5 }, medium: 500/day, high: 5000/day }
decide:
  matrix:
    minor:    { p: "> 0.05",      low: monitor, medium: monitor, high: review  }
    moderate: { p: "0.01 - 0.05", low: monitor, medium: review,  high: retrain }
    severe:   { p: "< 0.01",      low: retrain, medium: retrain, high: retrain }
  cooldown: 3d
  budget: { retrains: 2/month, cost: 10/month }
"""


def judge(
    history: ControlHistory | None = None,
    *,
    data: float = 1e-4,
    concept: float = 1.0,
    money: float = 6000.0,
    windows: int = 60,
    more: str = "",
    p: float = 0.5,
) -> Draft:
    """Judge day 10 of version 1; left alone it is a severe drift with high impact: retrain."""
    window = window_report(10)
    signals = judged_signals(
        window, data_p_seq=data, concept_p_seq=concept, money_per_day=money, reference_windows=windows, p=p
    )
    policy = parse_policy(POLICY + more)
    return decide(Cause(window=window, signals=tuple(signals)), policy, history or ControlHistory())


def test_nothing_brakes_a_severe_drift_that_costs_much() -> None:
    assert judge().action == "retrain"


def test_a_version_that_no_longer_serves_is_left_alone() -> None:
    draft = judge(ControlHistory(champion=2))
    assert (draft.cell, draft.action) == ("retrain", "monitor")
    assert "version 2 is champion now" in draft.reasons[-1]


def test_a_shift_without_harm_asks_a_person() -> None:
    draft = judge(money=100.0)
    assert (draft.cell, draft.action) == ("retrain", "review")
    assert "no harm is measured" in draft.reasons[-1]
    assert "100 USD a day is below 500" in draft.reasons[-1]


@pytest.mark.parametrize("evidence", [{"concept": 0.04}, {"money": 700.0}])
def test_harm_is_mistakes_or_money(evidence: dict[str, float]) -> None:
    assert judge(**{"money": 100.0, **evidence}).action == "retrain"  # type: ignore[arg-type]  # names of floats


def test_a_moderate_drift_is_not_retrained_automatically_whatever_the_matrix_says() -> None:
    draft = judge(data=0.02)
    assert (draft.band, draft.cell, draft.action) == ("moderate", "retrain", "review")
    assert "needs p_seq below 0.01, it is 0.04" in draft.reasons[-1]


def test_the_policy_may_waive_evidence_of_harm() -> None:
    assert judge(data=0.02, more="  require_harm: false\n").action == "retrain"


def test_a_short_reference_asks_a_person() -> None:
    draft = judge(windows=29)
    assert draft.action == "review"
    assert "the reference has 29 windows, automation needs 30" in draft.reasons[-1]


@pytest.mark.parametrize(("days", "action"), [(2, "monitor"), (3, "retrain")])
def test_after_a_retraining_the_cooldown_counts_in_event_time(days: int, action: str) -> None:
    judged_end = FIRST + timedelta(days=11)
    draft = judge(ControlHistory(last_retrain=judged_end - timedelta(days=days)))
    assert draft.action == action
    if action == "monitor":
        assert "2026-03-10, 2 days ago; the cooldown is 3 days" in draft.reasons[-1]


@pytest.mark.parametrize(
    ("refused", "hours", "action"),
    [
        (1, 23, "monitor"),
        (1, 24, "retrain"),
        (2, 47, "monitor"),
        (2, 48, "retrain"),
        (3, 71, "monitor"),
        (3, 72, "retrain"),
        (900, 72, "retrain"),
    ],
)
def test_after_retrainings_without_a_bundle_the_wait_doubles_up_to_the_cooldown(
    refused: int, hours: int, action: str
) -> None:
    asked = FIRST + timedelta(days=11) - timedelta(hours=hours)
    draft = judge(ControlHistory(last_refused=asked, refused=refused, why_refused="accuracy: fell short"))
    assert draft.action == action
    if action == "monitor":
        assert "made no bundle (accuracy: fell short)" in draft.reasons[-1]
        assert "decide.retry_after" in draft.reasons[-1]


def test_a_wait_that_is_longer_than_the_cooldown_is_kept() -> None:
    asked = FIRST + timedelta(days=11) - timedelta(days=4)
    draft = judge(ControlHistory(last_refused=asked, refused=3, why_refused="no"), more="  retry_after: 5d\n")
    assert draft.action == "monitor"
    assert "waits for 5 days" in draft.reasons[-1]


def test_a_long_reason_of_a_refusal_is_shortened() -> None:
    draft = judge(ControlHistory(last_refused=FIRST + timedelta(days=11), refused=2, why_refused="x" * 500))
    assert f"2 retrainings in a row made no bundle ({'x' * 197}...)" in draft.reasons[-1]


def test_a_success_after_a_refusal_ends_the_wait_and_begins_the_cooldown() -> None:
    end = FIRST + timedelta(days=11)
    draft = judge(ControlHistory(last_retrain=end - timedelta(days=3), last_refused=end - timedelta(hours=1)))
    assert draft.action == "retrain"


def test_a_refusal_after_a_success_does_not_end_the_cooldown_of_the_success() -> None:
    end = FIRST + timedelta(days=11)
    draft = judge(ControlHistory(last_retrain=end - timedelta(days=2), last_refused=end - timedelta(days=1), refused=1))
    assert draft.action == "monitor"
    assert "2 days ago; the cooldown is 3 days" in draft.reasons[-1]


def test_the_budget_of_retrainings_asks_a_person() -> None:
    assert judge(ControlHistory(retrains=1)).action == "retrain"
    draft = judge(ControlHistory(retrains=2))
    assert draft.action == "review"
    assert "2 of 2 retrainings of 30 days are used up" in draft.reasons[-1]


def test_the_budget_of_money_counts_what_the_next_training_would_cost() -> None:
    assert judge(ControlHistory(spent=4.0, next_cost=5.0)).action == "retrain"
    draft = judge(ControlHistory(spent=6.0, next_cost=5.0))
    assert draft.action == "review"
    assert "would exceed the budget of 10.00" in draft.reasons[-1]


def test_an_open_review_is_not_opened_again() -> None:
    draft = judge(ControlHistory(open_review="delay/decision/3", running=True), data=0.02, money=700.0)
    assert (draft.cell, draft.action) == ("review", "monitor")
    assert draft.reasons[-1] == "a review is already open (delay/decision/3)"


def test_an_automated_retraining_does_not_wait_for_the_answer_to_a_review() -> None:
    draft = judge(ControlHistory(open_review="delay/decision/3", running=True))
    assert draft.action == "retrain"
    assert draft.reasons[-1] == "it takes the place of the open review (delay/decision/3)"


@pytest.mark.parametrize(("days", "action"), [(3, "monitor"), (4, "review")])
def test_a_request_to_look_is_repeated_after_the_cooldown_only(days: int, action: str) -> None:
    noted = FIRST + timedelta(days=11 - days)
    draft = judge(ControlHistory(noted_review="delay/decision/2", noted_at=noted), data=1.0, money=0.0, p=1e-4)
    assert (draft.cell, draft.action) == ("monitor", action)


def test_a_request_to_look_does_not_hold_up_a_proposal() -> None:
    draft = judge(ControlHistory(noted_review="delay/decision/2", noted_at=FIRST), data=0.02, money=700.0)
    assert (draft.cell, draft.action) == ("review", "review")


def test_one_retraining_at_a_time() -> None:
    draft = judge(ControlHistory(running=True))
    assert draft.action == "monitor"
    assert "a retraining is under way" in draft.reasons[-1]


def test_a_retraining_under_way_does_not_stop_people_from_looking() -> None:
    assert judge(ControlHistory(running=True), data=1.0, money=0.0, p=1e-4).action == "review"


def broken(share: float, **more: float) -> Draft:
    """Judge the same day where a share of the rows holds values that the checks do not expect."""
    window = window_report(10)
    signals = judged_signals(window, data_p_seq=1e-4, money_per_day=more.get("money", 6000.0), reference_windows=60)
    found = signal(window, "quality", subject=CHECKS, value=share, carriers=("distance",))
    return decide(Cause(window=window, signals=(*signals, found)), parse_policy(POLICY), ControlHistory())


def test_a_broken_pipe_is_no_new_world_to_learn_from() -> None:
    draft = broken(0.4)
    assert (draft.cell, draft.action) == ("retrain", "review")
    assert draft.reasons[-1] == (
        "a person decides: check the pipe first: 40.0% of the rows hold values that the checks do not expect, most in "
        "distance; 1.0% may (checks.max_failing_rows)"
    )


def test_as_many_odd_rows_as_a_batch_may_have_break_no_pipe() -> None:
    assert broken(0.01).action == "retrain"
    assert broken(0.0).action == "retrain"


def test_a_proposal_says_so_too() -> None:
    window = window_report(10)
    signals = judged_signals(window, data_p_seq=0.06, money_per_day=6000.0)
    found = signal(window, "quality", subject=CHECKS, value=0.4, carriers=("distance",))
    draft = decide(Cause(window=window, signals=(*signals, found)), parse_policy(POLICY), ControlHistory())
    assert draft.action == "review"
    assert "check the pipe first" in draft.reasons[-1]


def test_more_retrainings_may_be_allowed_at_once() -> None:
    more = "  max_in_flight: 2\n"
    assert judge(ControlHistory(running=1), more=more).action == "retrain"
    draft = judge(ControlHistory(running=2), more=more)
    assert draft.action == "monitor"
    assert draft.reasons[-1] == "2 retrainings are under way; at most 2 may (decide.max_in_flight)"


def test_a_workflow_that_waits_for_an_answer_does_not_count_as_under_way() -> None:
    assert judge(ControlHistory(running=1, open_review="delay/decision/3")).action == "retrain"
    assert judge(ControlHistory(running=2, open_review="delay/decision/3")).action == "monitor"


@pytest.mark.parametrize(("data", "p"), [(1e-4, 0.5), (1.0, 1e-4)])
def test_a_frozen_model_is_only_monitored(data: float, p: float) -> None:
    draft = judge(ControlHistory(frozen="delay is frozen by ann: the audit"), data=data, p=p)
    assert draft.action == "monitor"
    assert draft.reasons[-1] == "delay is frozen by ann: the audit"


END = FIRST + timedelta(days=11)
"""End of the window that is judged."""


def ago(days: int) -> datetime:
    return END - timedelta(days=days)


@pytest.mark.parametrize(
    ("draft", "name", "until"),
    [
        (judge(ControlHistory(champion=2)), "replaced", None),
        (judge(ControlHistory(frozen="an audit", frozen_until=ago(-9))), "frozen", ago(-9)),
        (judge(money=100.0), "no_harm_shown", None),
        (broken(0.4), "broken_pipe", None),
        (judge(windows=29), "little_reference", None),
        (judge(ControlHistory(no_search="it names nothing")), "nothing_to_tune", None),
        (judge(ControlHistory(last_retrain=ago(2))), "cooldown", ago(-1)),
        (judge(ControlHistory(last_refused=ago(1), refused=2)), "retry_after", ago(-1)),
        (judge(ControlHistory(retrains=2, retrained_at=(ago(20), ago(9)))), "budget", ago(-10)),
        (judge(ControlHistory(retrains=3, retrained_at=(ago(20), ago(9), ago(4)))), "budget", ago(-21)),
        (judge(ControlHistory(spent=6.0, next_cost=5.0, spent_at=((ago(20), 2.0), (ago(9), 4.0)))), "budget", ago(-10)),
        (judge(ControlHistory(spent=6.0, next_cost=11.0, spent_at=((ago(20), 6.0),))), "budget", None),
        (judge(ControlHistory(open_review="delay/decision/3"), data=0.02, money=700.0), "review_open", None),
        (judge(ControlHistory(noted_review="n", noted_at=ago(1)), data=1.0, money=0.0, p=1e-4), "review_open", ago(-2)),
        (judge(ControlHistory(running=1)), "retraining_under_way", None),
        (judge(), "", None),
        (judge(ControlHistory(last_retrain=ago(2)), data=1.0, money=0.0), "", None),
    ],
)
def test_a_decision_names_the_brake_and_its_end(draft: Draft, name: str, until: datetime | None) -> None:
    assert (draft.held_by, draft.held_until) == (name, until)


def test_the_brake_that_softens_last_is_named() -> None:
    draft = judge(ControlHistory(last_retrain=ago(2)), money=100.0)  # a person first, then nothing at all
    assert (draft.action, draft.held_by) == ("monitor", "cooldown")


def test_each_brake_has_a_name_of_its_own() -> None:
    assert len({NAMES[brake] for brake in BRAKES}) == len(BRAKES)


def test_a_review_of_a_prompt_that_no_search_may_change_proposes_nothing_and_comes_once() -> None:
    history = ControlHistory(no_search="prompt 'triage' names nothing that a search may change (tune: in a.md)")
    draft = judge(history, data=0.02, money=700.0)
    assert (draft.cell, draft.action, draft.held_by) == ("review", "review", "nothing_to_tune")
    assert draft.reasons[-1].startswith("a person decides: prompt 'triage' names nothing")
    noted = ControlHistory(no_search="nothing", noted_review="n", noted_at=ago(1))
    assert judge(noted, data=0.02, money=700.0).held_by == "review_open"


def test_drift_of_a_prompt_without_harm_never_starts_a_search() -> None:
    policy = parse_policy(POLICY.replace("decide:", "decide:\n  require_harm: false"))
    assert not policy.for_task("binary").decide.require_harm
    assert policy.for_task("chat").decide.require_harm
