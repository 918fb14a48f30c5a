"""What would have had to be different: with the values that are named, the loop decides for the other action."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.control import why_not as module
from trimtab.control.cause import Cause
from trimtab.control.history import ControlHistory
from trimtab.control.levers import LEVERS, Change, Given, Lever
from trimtab.control.refresh import LabelledRows
from trimtab.control.suspicion import Quarantined
from trimtab.control.way_back import Lead
from trimtab.control.why_not import ACTIONS, WhyNot, why_not
from trimtab.policy.model import Policy
from trimtab.policy.reader import parse_policy
from trimtab.records.control import Suspicion
from trimtab.testing.judged import DAY, FIRST, judged_signals, signal, window_report
from trimtab.units import MICROS

COSTS = "impact: { cost: { false_negative: 40 }, medium: 500/day, high: 1500/day }\n"
REFRESH = "retrain: { refresh: { every: 7d, min_new_rows: 1% } }\n"
MATRIX, NO_COSTS = parse_policy("project: p\n" + COSTS), parse_policy("project: p\n")
REFRESHED = parse_policy("project: p\n" + COSTS + REFRESH)
RARELY = parse_policy("project: p\n" + COSTS + "retrain: { refresh: { every: 60d } }\n")
ON_DATA = parse_policy("project: p\n" + COSTS + "retrain: { on_new_data: 1000 }\n")
WATCHED = parse_policy("project: p\n" + COSTS + "rollout: { watch: rollback }\n")
POLICIES = (MATRIX, NO_COSTS, REFRESHED, RARELY, ON_DATA, WATCHED)
END = window_report(40).end

p_values = st.floats(1e-9, 1.0)
money = st.floats(-5_000, 5_000)
days_ago = st.one_of(st.none(), st.integers(0, 60).map(lambda days: END - days * DAY))


@st.composite
def histories(draw: st.DrawFn) -> ControlHistory:
    review = draw(st.sampled_from([None, "delay/decision/3"]))
    return ControlHistory(
        champion=draw(st.sampled_from([1, 1, 1, 2])),
        previous=draw(st.sampled_from([None, 3])),
        restored=draw(st.booleans()),
        running=draw(st.integers(0, 2)),
        frozen=draw(st.sampled_from([None, None, "delay is frozen by ann: year end"])),
        last_retrain=draw(days_ago),
        last_refused=draw(days_ago),
        refused=draw(st.integers(0, 3)),
        failure=draw(st.sampled_from([None, None, "the retraining of delay/decision/2 failed: no memory"])),
        retrains=draw(st.integers(0, 9)),
        spent=draw(st.floats(0, 300)),
        next_cost=draw(st.floats(0, 300)),
        open_review=review,
        noted_review=None if review else "delay/decision/4",
        noted_at=None if review else draw(days_ago),
    )


@st.composite
def situations(draw: st.DrawFn) -> Given:
    window = window_report(40, metrics={"error_rate_low": 0.0, "p99_low_ms": draw(st.floats(1, 10))})
    signals = judged_signals(
        window,
        data_p_seq=draw(p_values),
        concept_p_seq=draw(p_values),
        p=draw(p_values),
        money_per_day=None,
        reference_windows=draw(st.integers(3, 90)),
    )
    if draw(st.booleans()):
        signals.append(signal(window, "quality", value=0.2, p=0.5, p_seq=draw(p_values)))
    if draw(st.booleans()):
        signals.append(signal(window, "quality", subject="absolute:wind"))
    losses = tuple(draw(st.lists(money, max_size=7)))
    lead = Lead(version=3, windows=draw(st.integers(0, 20)), gain=draw(st.floats(-1, 1)), errors=draw(st.floats(-5, 5)),
                over_champion=0.1, champion_windows=draw(st.integers(0, 5)))  # fmt: skip
    suspicion = Suspicion(id="s", created_at=FIRST, model="delay", start=window.start, end=window.end, rule="inputs",
                          subject="wind", value=9.0, limit=3.0, known_at=window.end, reason="a leap")  # fmt: skip
    held = draw(st.booleans())
    return Given(
        cause=Cause(window=window, signals=tuple(signals), losses=losses, over=7.0),
        policy=draw(st.sampled_from(POLICIES)),
        history=draw(histories()),
        rows=LabelledRows(
            since=draw(days_ago), new=draw(st.integers(0, 5_000)), known=40_000, by_clock=draw(st.booleans())
        ),
        quarantined=Quarantined(found=(suspicion,), suspected=True, run=1) if held else Quarantined(),
        leads=draw(st.sampled_from([(), (lead,)])),
    )


def action(case: Given) -> str:
    draft = case.decide()
    return "none" if draft is None else draft.action


@given(situations())
def test_the_named_values_lead_to_the_action(case: Given) -> None:
    found = why_not(case)
    assert [one.action for one in found] == list(ACTIONS)
    assert [one.taken for one in found] == [one.action == action(case) for one in found]
    for one in found:
        for way in one.ways:
            assert action(way[-1].given) == one.action
            # and without the last of them it does not
            assert action(way[-2].given if len(way) > 1 else case) != one.action
            assert len({change.name for change in way}) == len(way)


def given_values(policy: Policy = MATRIX, **values: Any) -> Given:
    window = window_report(40)
    concept = values.pop("concept_p_seq", 1.0)
    signals = judged_signals(window, data_p_seq=values.pop("p_seq", 1.0), concept_p_seq=concept, money_per_day=None)
    cause = Cause(window=window, signals=tuple(signals), losses=(values.pop("money", 623.0),) * 7, over=7.0)
    return Given(cause=cause, policy=policy, history=ControlHistory(champion=1, **values))


def of(case: Given, wanted: str) -> WhyNot:
    return next(one for one in why_not(case) if one.action == wanted)


def test_each_value_that_is_short_of_a_retraining_is_named_with_what_it_was() -> None:
    case = given_values(p_seq=0.03, last_retrain=END - DAY, running=0)
    assert of(case, "monitor").taken
    assert of(case, "retrain").text == (
        "p_seq below 0.01 (was 0.06), and 1,500 USD a day or more, surely (was 623), and no retraining in the 3d "
        "before; one was asked for on 2026-04-10"
    )


def test_money_alone_is_named_where_only_money_was_short() -> None:
    case = given_values(p_seq=0.001)
    assert of(case, "review").taken
    assert of(case, "retrain").text == "1,500 USD a day or more, surely (was 623)"
    assert of(case, "monitor").text == "p_seq 0.05 or more (was 0.002)"


def test_without_money_harm_on_labels_is_what_counts() -> None:
    case = given_values(NO_COSTS, p_seq=0.02, money=0.0)
    case = dataclasses.replace(case, cause=dataclasses.replace(case.cause, losses=()))
    assert of(case, "monitor").taken
    assert of(case, "review").text == "p_seq of the mistakes below 0.05 (was 1)"
    assert of(case, "retrain").text == "no value of this window leads to it under this policy"


def test_a_rollback_names_each_limit() -> None:
    policy = parse_policy("project: p\n" + COSTS + "rollout: { rollback_when: { error_rate: 2%, p99: 250ms } }\n")
    case = given_values(policy, previous=3)
    assert of(case, "rollback").text == (
        "surely more than 2 % of the predictions failed (was not measured); or p99 surely above 250 ms (was not "
        "measured)"
    )
    window = msgspec.structs.replace(case.cause.window, metrics={"p99_ms": 6.18, "p99_low_ms": 5.78})
    case = dataclasses.replace(case, cause=dataclasses.replace(case.cause, window=window))
    assert "p99 surely above 250 ms (was surely 5.78 ms or more)" in of(case, "rollback").text


def test_of_the_first_refresh_the_pause_is_the_one_that_its_reason_names() -> None:
    # given a first model by the clock: the windows before its end were judged later, when their labels had come
    rows = LabelledRows(since=END - 7 * DAY, new=500, known=1000, by_clock=True)
    case = dataclasses.replace(given_values(REFRESHED), rows=rows)
    draft = case.decide()
    assert draft is not None
    passed = 7 + REFRESHED.decide.labels_mature_after / MICROS["d"]
    assert f"the last retraining was {passed:.3g} days ago" in " ".join(draft.reasons)
    assert of(case, "monitor").text == f"less than 7d since the last retraining (was {passed:.3g} d)"


def test_a_refresh_that_is_not_due_names_its_pause() -> None:
    case = dataclasses.replace(
        given_values(REFRESHED), rows=LabelledRows(since=END - timedelta(days=5), new=3_000, known=40_000)
    )
    assert of(case, "retrain").text == "a refresh due: 7d since the last retraining (was 5 d)"


@pytest.mark.parametrize("broken", ["cooldown", "p_seq"])
def test_a_lever_that_changes_nothing_names_no_way(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a lever that leaves the value as it was: nothing that does not lead to the action is named
    def idle(case: Given) -> Any:
        return Change(name=broken, needed="nothing", given=case)

    levers: dict[str, Lever] = {**LEVERS, broken: idle}
    monkeypatch.setattr(module, "LEVERS", levers)
    if broken == "p_seq":
        monkeypatch.setattr(module, "other_p_seq", lambda case, *_: idle(case))
    case = given_values(p_seq=1e-4 if broken != "p_seq" else 0.5, money=9_000.0, last_retrain=END - DAY)
    assert of(case, "retrain").ways == ()
