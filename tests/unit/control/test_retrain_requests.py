"""Requests to retrain: one decision each, after the brakes that hold for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from trimtab.clock import ManualClock
from trimtab.control.controller import Controller
from trimtab.control.retrain_requests import open_requests, request_retraining
from trimtab.errors import UsageError
from trimtab.policy.reader import parse_policy
from trimtab.records.control import RetrainRequest
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import (
    DAY,
    FIRST,
    MODEL,
    RecordingActions,
    champion_revision,
    judged_signals,
    window_report,
)

CLOCK = ManualClock(FIRST)
POLICY = parse_policy("project: p\n")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    store = SqlMetadata(tmp_path / "metadata.db")
    window = window_report(0)
    store.put(champion_revision(1, 1), window, *judged_signals(window))
    yield store
    store.close()


def ask(book: Metadata, key: str = "a", reason: str = "new prices") -> RetrainRequest:
    return request_retraining(book, MODEL, key=key, source="api", reason=reason, by="ann", at=FIRST)


def controller(book: Metadata, actions: RecordingActions) -> Controller:
    return Controller(book, POLICY, MODEL, actions, CLOCK)


def test_a_request_becomes_one_decision_to_retrain(book: Metadata) -> None:
    actions = RecordingActions()
    loop = controller(book, actions)
    loop.step()
    ask(book)
    (made,) = loop.step()
    assert (made.action, made.trigger, made.version, made.end) == ("retrain", "request", 1, FIRST + DAY)
    assert made.reasons[0] == "requested by ann (api): new prices"
    assert actions.asked == [("retrain", made.id)]
    assert loop.step() == controller(book, actions).step() == ()
    assert open_requests(book, MODEL) == []


def test_a_request_waits_while_a_retraining_runs(book: Metadata) -> None:
    actions = RecordingActions()
    actions.busy = True
    loop = controller(book, actions)
    ask(book)
    assert [d.trigger for d in loop.step()] == ["matrix"]
    actions.busy = False
    assert [d.trigger for d in loop.step()] == ["request"]


def test_the_same_key_is_the_same_request(book: Metadata) -> None:
    assert ask(book).reason == ask(book, reason="another").reason == "new prices"
    assert ask(book, "b").id != ask(book, "a").id


def test_windows_are_judged_once_also_when_the_newest_decision_is_on_a_request(book: Metadata) -> None:
    actions = RecordingActions()
    ask(book)
    assert len(controller(book, actions).step()) == 2
    window = window_report(1)
    book.put(window, *judged_signals(window))
    assert [d.window for d in controller(book, actions).step()] == [window.id]


@pytest.mark.parametrize("key", ["", "a b", "x" * 101, "a/b"])
def test_a_key_that_is_none_is_refused(book: Metadata, key: str) -> None:
    with pytest.raises(UsageError, match="no key"):
        ask(book, key)
    with pytest.raises(UsageError, match="reason"):
        ask(book, reason=" ")


@pytest.mark.parametrize(("source", "action"), [("api", "review"), ("command", "retrain")])
def test_the_budget_holds_for_programs_and_a_person_may_exceed_it(
    book: Metadata, source: Literal["api", "command"], action: str
) -> None:
    used_up = parse_policy("project: p\ndecide: { budget: { retrains: 0.5/month } }\n")
    request_retraining(book, MODEL, key="a", source=source, reason="new prices", by="ann", at=FIRST)
    found = Controller(book, used_up, MODEL, RecordingActions(), CLOCK).step()
    assert [d.action for d in found if d.trigger == "request"] == [action]
