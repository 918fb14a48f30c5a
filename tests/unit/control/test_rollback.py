"""Operational limits of a closed window."""

from __future__ import annotations

from datetime import timedelta

import pytest

from trimtab.control.cause import Cause
from trimtab.control.decision import Draft
from trimtab.control.history import ControlHistory
from trimtab.control.rollback import decide_rollback
from trimtab.policy.reader import parse_policy
from trimtab.testing.judged import FIRST, window_report

POLICY = parse_policy("project: p\nrollout: { rollback_when: { error_rate: 2%, p99: 50ms } }\n")


def judge(history: ControlHistory, **metrics: float) -> Draft | None:
    window = window_report(3, version=2, stage="closed", metrics=metrics)
    return decide_rollback(Cause(window=window, signals=()), POLICY, history)


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"error_rate": 0.02, "p99_ms": 50.0},
        {"p99_ms": 253.0, "p99_low_ms": 1.2},
        {"error_rate": 0.05, "error_rate_low": 0.0003},
    ],
)
def test_within_the_limits_nothing_is_decided(metrics: dict[str, float]) -> None:
    assert judge(ControlHistory(champion=2, previous=1), **metrics) is None


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (
            {"error_rate": 0.08, "error_rate_low": 0.045},
            "8.00% of 1,000 predictions failed, which proves 4.50% or more; the limit is 2.00%",
        ),
        ({"error_rate": 0.031}, "3.10% of 1,000 predictions failed, which proves 3.10% or more; the limit is 2.00%"),
        ({"p99_ms": 80.0, "p99_low_ms": 51.0}, "the slowest 1% took 51.0 ms or more; the limit is 50 ms"),
        ({"p99_ms": 51.0}, "the slowest 1% took 51.0 ms or more; the limit is 50 ms"),
    ],
)
def test_a_broken_limit_restores_what_served_before(metrics: dict[str, float], said: str) -> None:
    draft = judge(ControlHistory(champion=2, previous=1), **metrics)
    assert draft is not None
    assert draft.action == "rollback"
    assert draft.reasons[0] == said
    assert "version 1, which served before, is restored" in draft.reasons


def test_the_first_champion_cannot_be_rolled_back() -> None:
    draft = judge(ControlHistory(champion=2), error_rate=0.5)
    assert draft is not None
    assert draft.action == "review"


def test_what_came_back_by_a_rollback_is_not_rolled_back_to_what_failed() -> None:
    draft = judge(ControlHistory(champion=2, previous=1, restored=True), error_rate=0.5)
    assert draft is not None
    assert draft.action == "review"
    assert "restored by a rollback" in draft.reasons[1]


def test_asking_twice_within_the_cooldown_is_noted_only() -> None:
    noted = ControlHistory(champion=2, noted_review="delay/decision/1", noted_at=FIRST + timedelta(days=3))
    draft = judge(noted, error_rate=0.5)
    assert draft is not None
    assert draft.action == "monitor"
    assert draft.held_by == "review_open"
    assert draft.held_until == FIRST + timedelta(days=6)  # decide.cooldown is 3 days


def test_a_version_that_no_longer_serves_is_not_judged() -> None:
    assert judge(ControlHistory(champion=3, previous=2), error_rate=0.5) is None
