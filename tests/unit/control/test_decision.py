"""Every cell of the matrix, and the sentences that explain it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from trimtab.control.cause import Cause
from trimtab.control.decision import SEVERITY, Draft, decide
from trimtab.control.history import ControlHistory
from trimtab.policy.model import Policy
from trimtab.policy.reader import parse_policy
from trimtab.testing.judged import judged_signals, signal, window_report

POLICY = """
project: flights
impact: { currency: USD, cost: { false_negative: 40, false_positive: 5 }, medium: 500/day, high: 5000/day }
"""
P_SEQ = {"minor": 0.4, "moderate": 0.04, "severe": 0.001}
MONEY = {"low": 100.0, "medium": 700.0, "high": 6000.0}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return parse_policy(POLICY)


def cause(
    p_seq: float,
    *,
    concept: float | None = None,
    money: float | None = 0.0,
    p: float = 0.5,
    windows: int = 60,
) -> Cause:
    """A cause whose combined sequential p-value is `p_seq`, led by the inputs."""
    window = window_report()
    signals = judged_signals(
        window,
        data_p_seq=p_seq / 2,
        concept_p_seq=1.0 if concept is None else concept,
        p=p,
        money_per_day=money,
        reference_windows=windows,
    )
    return Cause(window=window, signals=tuple(signals))


def with_broken(found: Cause, *columns: str) -> Cause:
    """Return a cause in which absolute rules fired on columns."""
    more = [signal(found.window, "quality", value=1.0, subject=f"absolute:{name}") for name in columns]
    return Cause(window=found.window, signals=(*found.signals, *more))


def test_a_broken_column_asks_a_person_to_check_the_pipe_and_never_retrains(policy: Policy) -> None:
    quiet = decide(with_broken(cause(0.4), "wind"), policy, ControlHistory())
    assert (quiet.cell, quiet.action) == ("monitor", "review")
    assert quiet.reasons[-1] == "check the pipe first: made for a test"
    two = decide(with_broken(cause(0.001, money=6000.0), "wind", "hour"), policy, ControlHistory())
    assert (two.cell, two.action) == ("retrain", "review")
    assert "a person decides: check the pipe first: made for a test; 1 more column looks broken" in two.reasons


@pytest.mark.parametrize(("age", "action"), [(3.0, "review"), (2.0, "monitor")])
def test_features_older_than_the_policy_allows_ask_a_person_to_check_the_pipe(
    policy: Policy, age: float, action: str
) -> None:
    found = cause(0.4)
    stale = replace(signal(found.window, "freshness", value=age, subject="view:spend"), effect={"limit": 2.0})
    draft = decide(Cause(window=found.window, signals=(*found.signals, stale)), policy, ControlHistory())
    assert (draft.cell, draft.action) == ("monitor", action)
    assert (draft.reasons[-1] == "check the pipe first: made for a test") == (action == "review")


def test_missing_values_beyond_the_usual_count_as_a_cause_and_point_to_the_pipe(policy: Policy) -> None:
    found = cause(0.4, money=6000.0)
    missing = signal(found.window, "quality", value=0.25, p_seq=0.0001)
    draft = decide(Cause(window=found.window, signals=(*found.signals, missing)), policy, ControlHistory())
    assert (draft.band, draft.cell, draft.action) == ("severe", "retrain", "review")
    assert "check the pipe first: 25.0% of the feature values are missing" in " ".join(draft.reasons)


@pytest.mark.parametrize("band", ["minor", "moderate", "severe"])
@pytest.mark.parametrize("impact", ["low", "medium", "high"])
def test_every_cell_of_the_matrix_is_what_the_policy_says(policy: Policy, band: str, impact: str) -> None:
    draft = decide(cause(P_SEQ[band], money=MONEY[impact]), policy, ControlHistory())
    expected = getattr(policy.decide.matrix.root[band], impact)
    assert (draft.band, draft.impact, draft.cell, draft.action) == (band, impact, expected, expected)
    assert f"the matrix says {expected}" in " ".join(draft.reasons)


def test_the_band_reads_the_sequential_p_value_and_a_strange_window_alone_only_opens_a_review(policy: Policy) -> None:
    draft = decide(cause(0.4, money=MONEY["high"] * 0, p=1e-6), policy, ControlHistory())
    assert (draft.band, draft.cell, draft.action) == ("minor", "monitor", "review")
    assert "this window alone is unusual" in draft.reasons[-1]


def test_a_drift_of_the_answers_counts_and_is_told(policy: Policy) -> None:
    quiet = cause(1.0)
    drifted = Cause(
        window=quiet.window, signals=(*quiet.signals, signal(quiet.window, "prediction", p=0.5, p_seq=0.001))
    )
    draft = decide(drifted, policy, ControlHistory())
    assert (draft.band, draft.action) == ("severe", "review")
    assert "answers are spread differently" in draft.reasons[1]


def test_without_labels_the_impact_is_low_and_the_reason_says_so(policy: Policy) -> None:
    draft = decide(cause(0.001, money=None), policy, ControlHistory())
    assert (draft.impact, draft.action) == ("low", "review")
    assert any("labels are missing" in reason for reason in draft.reasons)


@pytest.mark.parametrize(("concept", "level"), [(0.5, "low"), (0.01, "medium")])
def test_without_costs_measured_harm_counts_as_medium(concept: float, level: str) -> None:
    draft = decide(cause(0.001, concept=concept, money=None), parse_policy("project: p\n"), ControlHistory())
    assert draft.impact == level


def test_the_reasons_carry_the_numbers(policy: Policy) -> None:
    text = " ".join(decide(cause(0.001, concept=0.002, money=812.4), policy, ControlHistory()).reasons)
    for part in ("60 reference windows", "p_seq 0.0005", "wind, month", "812 USD a day more", "medium impact", "900"):
        assert part in text


@given(
    p_seq=st.floats(0, 1),
    concept=st.floats(0, 1),
    p=st.floats(0, 1),
    money=st.none() | st.floats(-1e5, 1e5),
    windows=st.integers(0, 400),
    running=st.booleans(),
    retrains=st.integers(0, 20),
    spent=st.floats(0, 1e4),
)
def test_brakes_never_harden_and_every_softening_has_a_reason(
    p_seq: float,
    concept: float,
    p: float,
    money: float | None,
    windows: int,
    running: bool,
    retrains: int,
    spent: float,
) -> None:
    policy = parse_policy(POLICY)
    history = ControlHistory(running=running, retrains=retrains, spent=spent)
    draft = decide(cause(p_seq, concept=concept, money=money, p=p, windows=windows), policy, history)
    wanted = "review" if draft.cell == "monitor" and p < 0.005 else draft.cell
    assert _severity(draft.action) <= max(_severity(draft.cell), 1)
    if _severity(draft.action) < _severity(wanted):
        assert len(draft.reasons) > 4
    if draft.action == "retrain":
        assert _may_retrain(draft, windows, running, retrains)


def _severity(action: str) -> int:
    return [str(s) for s in SEVERITY].index(action)


def _may_retrain(draft: Draft, windows: int, running: bool, retrains: int) -> bool:
    return draft.cause.p_seq < 0.01 and draft.impact == "high" and windows >= 30 and not running and retrains < 8
