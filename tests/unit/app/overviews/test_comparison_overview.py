"""The page of a comparison: its sentence, what grew, and what may be done with the version."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.overviews.comparison_overview import comparison_overview
from trimtab.app.project.workspace import Workspace
from trimtab.errors import NotFound
from trimtab.records.monitoring import Comparison
from trimtab.testing.judged import DAY, FIRST, MODEL


@pytest.fixture
def project(tmp_path: Path) -> Iterator[GatewayProject]:
    made = GatewayProject(tmp_path / "project", impact={"cost": {"false_negative": 40}})
    made.deploy(1)
    made.deploy(2)
    yield made
    made.workspace.metadata.close()


def compare(workspace: Workspace, day: int, **values: Any) -> Comparison:
    one = Comparison(
        id=f"{MODEL}/v2/comparison/v1/{day}", created_at=FIRST + timedelta(hours=day), model=MODEL, version=2,
        against=1, window=f"w{day}", start=FIRST + day * DAY, end=FIRST + (day + 1) * DAY, metric="log_loss",
        gain=0.01, mean=0.0023, low=None, high=None, windows=day + 1, held_out=0, labels=900 * (day + 1),
        predictions_per_day=1000.0, money_per_day=41.0, money_per_day_low=None, money_per_day_high=None,
        verdict="continue", reason="too early",
    )  # fmt: skip
    one = msgspec.structs.replace(one, **values)
    workspace.metadata.put(one)
    return one


def test_the_sentence_says_money_first_and_then_the_gain_with_its_bounds(project: GatewayProject) -> None:
    ws = project.workspace
    compare(ws, 0)
    early = comparison_overview(ws, MODEL)
    assert early.sentence == (
        "No verdict yet on version 2 against version 1, after 1 window; in money +41.00 USD a day; it gains +0.00230 "
        "log loss on 900 labels. It serves as challenger with 10 % of the traffic."
    )
    compare(ws, 1, low=-0.0038, high=0.0085, money_per_day_low=-66.0, money_per_day_high=148.0, verdict="expired")
    found = comparison_overview(ws, MODEL)
    assert found.sentence.startswith(
        "No verdict after 2 windows of version 2 against version 1; in money +41.00 USD a day (−66.00 USD to +148 "
        "USD); it gains +0.00230 log loss (−0.00380 to +0.00850) on 1,800 labels."
    )
    assert [(p.windows, p.low, p.money_low) for p in found.growth] == [(1, None, None), (2, -0.0038, -66.0)]
    assert (found.candidate, found.revision, found.verdict) == (True, 2, "expired")
    assert [(p.version, p.against, p.windows) for p in found.pairs] == [(2, 1, 2)]


def test_bad_events_of_a_prompt_are_counted_in_conversations(project: GatewayProject) -> None:
    ws = project.workspace
    prompt: dict[str, Any] = {"metric": "thumbs_down", "unit": "conversations", "revision": 2, "money_per_day": None}
    compare(ws, 0, **prompt, mean=None, labels=120)
    assert (
        "after 120 conversations; it has no thumbs down in both versions yet."
        in comparison_overview(ws, MODEL).sentence
    )
    compare(ws, 1, **prompt, mean=-0.5, low=None, high=-0.2, labels=2434, verdict="harm")
    found = comparison_overview(ws, MODEL)
    assert found.sentence.startswith(
        "Version 2 is worse than version 1, after 2,434 conversations; it has 50% more thumbs down (any to -20%)."
    )
    assert "takes it back when they surely come more often" in found.rule
    facts = {f.name: (f.label, f.figure) for f in found.facts}
    assert (facts["gain"], facts["labels"]) == (("fewer thumbs down", "-50%"), ("conversations", "2,434"))


def test_what_was_taken_back_cannot_be_promoted_and_says_by_whom(project: GatewayProject) -> None:
    ws = project.workspace
    compare(ws, 0)
    project.rollouts.abandon(cause="c", reason="it is worse", by="ann")
    found = comparison_overview(ws, MODEL)
    assert "No verdict on version 2 against version 1" in found.sentence
    assert "It was taken back on" in found.state
    assert found.state.endswith("by ann.")
    assert (found.candidate, found.role) == (False, "not in service")
    assert {f.name: f.usual for f in found.facts}["verdict"] == "the comparison has ended"


def test_without_records_of_growth_the_pair_that_serves_is_offered(project: GatewayProject) -> None:
    found = comparison_overview(project.workspace, MODEL)
    assert (found.version, found.against, found.growth) == (2, 1, ())
    assert found.sentence.startswith("Version 2 has no recorded comparison with version 1 on live traffic yet.")


def test_the_pair_that_is_asked_for_can_be_chosen_in_its_order(project: GatewayProject) -> None:
    found = comparison_overview(project.workspace, MODEL, (1, 2))
    assert [(p.version, p.against) for p in found.pairs] == [(1, 2), (2, 1)]


def test_nothing_to_compare_names_the_command(tmp_path: Path) -> None:
    made = GatewayProject(tmp_path / "alone")
    assert comparison_overview(made.workspace, MODEL).next == "trimtab run --model delay"
    made.deploy(1)
    found = comparison_overview(made.workspace, MODEL)
    assert (found.version, found.next) == (None, "trimtab retrain --model delay")


def test_a_version_that_is_none_is_not_found(project: GatewayProject) -> None:
    with pytest.raises(NotFound, match="has no version 9; versions: 1, 2"):
        comparison_overview(project.workspace, MODEL, (9, 1))
