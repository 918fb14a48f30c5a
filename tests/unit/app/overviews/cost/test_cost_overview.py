"""Costs by month of event time, by run and by decision, and what mistakes cost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.overviews.cost import month_sums
from trimtab.app.overviews.cost.cost_overview import NO_COSTS, NO_SHADOW, cost_overview, run_costs
from trimtab.app.overviews.model_brief import model_brief
from trimtab.app.project.workspace import Workspace
from trimtab.errors import StoreError
from trimtab.records.control import WorkflowStep
from trimtab.records.monitoring import ANSWER_MONEY, ANSWERS_PRICED, MONEY_GAIN
from trimtab.testing.judged import DAY, FIRST, dataset_record, run_record, window_report

COSTS = {"impact": {"currency": "EUR", "cost": {"false_negative": 40}}}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = GatewayProject(tmp_path / "project", **COSTS).workspace
    yield opened
    opened.metadata.close()


def put_windows(workspace: Workspace, *, money: dict[int, float]) -> None:
    """Write days 0 and 40 of versions 1 (a shadow) and 2 (the champion), which lost so much by day."""
    for day, lost in money.items():
        gain = {MONEY_GAIN: -0.1, "paired_rows": 900.0, "paired_version": 2.0}
        workspace.metadata.put(
            window_report(day, version=2, stage="closed", metrics={"cost": 0.5}),
            window_report(day, version=1, stage="closed", role="shadow", metrics={"cost": 0.25}, served=0),
            window_report(day, version=2, metrics={"money_lost": lost}),
            window_report(day, version=1, role="shadow", metrics={"money_lost": lost + 90, **gain}, served=0),
        )


def test_months_are_of_event_time_and_add_up(workspace: Workspace) -> None:
    put_windows(workspace, money={0: 1000.0, 1: 200.0, 40: 50.0})
    workspace.metadata.put(dataset_record(as_of=FIRST + 2 * DAY), run_record(1))
    found = cost_overview(workspace)
    march, april = found.months
    assert [(each.month.month, each.lost, each.serving) for each in (march, april)] == [
        (3, 1200.0, 1.5),
        (4, 50.0, 0.75),
    ]
    assert march.training == run_record(1).cost
    assert march.saved == pytest.approx(2 * 0.1 * 900), "the version before lost 0.1 a row more on the same rows"
    assert (found.month, found.cost, found.lost) == (april.month, 0.75, 50.0)
    assert (
        found.sentence
        == "Model delay cost 0.75 EUR in Apr 2026 and lost 50.00 EUR by mistakes (900 of 1,000 answers counted)."
    )
    (model,) = found.models
    assert model.predictions == 3 * 1000, "rows that were scored for comparison alone are no answers"


def test_answers_of_a_replaced_champion_count_and_the_rest_is_named(workspace: Workspace) -> None:
    # given a day of change: version 1 answered 300 rows and scored 700 more as a shadow
    of_answers = {"money_lost": 900.0, ANSWER_MONEY: 200.0, ANSWERS_PRICED: 250.0}
    unknown = {"money_lost": 900.0}
    workspace.metadata.put(
        window_report(0, version=2, stage="closed", served=700),
        window_report(0, version=1, stage="closed", role="shadow", served=300),
        window_report(
            0, version=2, metrics={"money_lost": 50.0, ANSWER_MONEY: 40.0, ANSWERS_PRICED: 650.0}, served=700
        ),
        window_report(0, version=1, role="shadow", metrics=of_answers, served=300),
        window_report(1, version=2, stage="closed", served=400),
        window_report(1, version=2, metrics=unknown, served=400),
    )
    (month,) = cost_overview(workspace).months
    assert (month.lost, month.counted, month.predictions) == (240.0, 900, 1400)
    assert cost_overview(workspace).counted == "900 of 1,400 answers counted"
    brief = model_brief(workspace, "delay").month
    assert brief is not None
    assert (brief.lost, brief.counted, brief.answered) == (240.0, 900, 1400)


def test_what_is_not_known_has_a_reason_and_is_never_zero(workspace: Workspace) -> None:
    workspace.metadata.put(window_report(0, stage="closed", metrics={"cost": 0.5}))
    found = cost_overview(workspace)
    assert (found.lost, found.saved) == (None, None)
    assert found.why_lost == "no window of the month has its labels"
    assert found.why_saved == NO_SHADOW
    assert found.sentence == "Model delay cost 0.50 EUR in Mar 2026."


def test_a_policy_without_prices_and_costs_says_so(tmp_path: Path) -> None:
    zero = {"prices": {"cpu_hour": 0, "memory_gb_hour": 0}}
    opened = GatewayProject(tmp_path / "bare", **zero).workspace
    assert cost_overview(opened).sentence == "Model delay cost nothing yet: no run and no closed window."
    opened.metadata.put(dataset_record(), run_record(1))
    found = cost_overview(opened)
    assert not found.priced
    assert "CPU seconds of training in Mar 2026; the policy has no prices" in found.sentence
    assert (found.why_lost, found.why_saved) == (NO_COSTS, NO_COSTS)
    opened.metadata.close()


def test_the_budget_counts_trainings_of_thirty_days_of_event_time(workspace: Workspace) -> None:
    old = msgspec.structs.replace(dataset_record(as_of=FIRST), id="old")
    workspace.metadata.put(
        old,
        dataset_record(as_of=FIRST + 40 * DAY),
        msgspec.structs.replace(run_record(1), dataset="old", cost=3.0),
        msgspec.structs.replace(run_record(2), cost=2.0),
        window_report(40),
    )
    (model,) = cost_overview(workspace).models
    assert (model.training, model.spent, model.left) == (5.0, 2.0, model.budget - 2.0)


def test_a_run_names_the_decision_that_started_it_and_pages_follow_each_other(workspace: Workspace) -> None:
    workspace.metadata.put(dataset_record())
    for number in (1, 2, 3):
        workspace.metadata.put(msgspec.structs.replace(run_record(number), key=f"retrain/delay/decision/{number}"))
    workspace.metadata.put(
        WorkflowStep(
            id="retrain/delay/decision/2/train",
            created_at=FIRST + timedelta(hours=1),
            workflow="retrain/delay/decision/2",
            model="delay",
            decision="delay/decision/2",
            step="train",
            outcome="run run2",
            refers_to="run2",
        )
    )
    first = run_costs(workspace, limit=2)
    assert [(each.run, each.decision) for each in first] == [("run3", None), ("run2", "delay/decision/2")]
    assert [each.run for each in run_costs(workspace, before="run2", limit=2)] == ["run1"]


def test_a_window_with_two_champions_saves_once(workspace: Workspace) -> None:
    put_windows(workspace, money={0: 1000.0})
    workspace.metadata.put(window_report(0, version=3, metrics={"money_lost": 900.0}))
    (month,) = cost_overview(workspace).months
    assert month.saved == pytest.approx(90)


def test_what_could_not_be_read_is_summed_up_by_the_next_call(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given runs and windows whose other records cannot be read
    put_windows(workspace, money={0: 1000.0})
    workspace.metadata.put(dataset_record(as_of=FIRST), run_record(1))
    for name, module in (("get", type(workspace.metadata)), ("saved_by_window", month_sums)):
        with monkeypatch.context() as broken:
            broken.setattr(module, name, Mock(side_effect=StoreError("the disk is away")))
            with pytest.raises(StoreError, match="the disk is away"):
                cost_overview(workspace)
    (month,) = cost_overview(workspace).months
    assert (month.lost, month.serving, month.trainings) == (1000.0, 0.75, 1)
    assert month.saved == pytest.approx(90)


def test_what_was_summed_up_is_not_read_again_and_what_is_new_counts_once(workspace: Workspace) -> None:
    put_windows(workspace, money={0: 1000.0})
    first = cost_overview(workspace)
    assert cost_overview(workspace) == first
    put_windows(workspace, money={1: 200.0})
    workspace.metadata.put(dataset_record(as_of=FIRST + DAY), run_record(1))
    (month,) = cost_overview(workspace).months
    assert (month.lost, month.serving, month.trainings) == (1200.0, 1.5, 1)
    assert month.saved == pytest.approx(180)
    assert cost_overview(workspace).months == (month,)
