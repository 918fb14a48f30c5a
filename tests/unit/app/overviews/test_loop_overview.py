"""The first page: what waits, which stages have written, what the month brought."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from kit.decisions import decide
from kit.small_project import AS_OF, make_project, open_small
from kit.task_windows import MODELS, Served
from trimtab.app.overviews.loop_overview import loop_overview, models_page
from trimtab.app.project.locks import only_loop
from trimtab.clock import ManualClock
from trimtab.control.resolve import resolve
from trimtab.metric_catalog import TASKS, Task
from trimtab.records.control import WorkflowStep
from trimtab.records.monitoring import WindowReport
from trimtab.records.serving import LogGap
from trimtab.records.training import Run
from trimtab.testing.judged import DAY, champion_revision, window_report

STAGES = ["source", "table", "checks", "features", "dataset", "run", "gates", "bundle", "revision", "gateway", "log"]


@pytest.mark.parametrize("task", TASKS)
def test_every_stage_has_its_newest_record_and_the_month_its_money(served: Served, task: Task) -> None:
    workspace = served(task)
    page = loop_overview(workspace)
    assert [box.name for box in page.boxes] == [*STAGES, "signal", "decision"]
    missing = {box.name for box in page.boxes if not box.newest}
    assert missing == {"features", "gateway"}  # these models have no views, and nothing runs
    run = workspace.metadata.find(Run, limit=1)[0]
    box = next(box for box in page.boxes if box.name == "run")
    assert (box.newest, box.at) == (run.id[:8], run.created_at)
    closed = workspace.metadata.find(WindowReport, stage="closed")
    matured = workspace.metadata.find(WindowReport, stage="matured", role="champion")
    assert page.month is not None
    assert (page.month.name, page.month.trainings, page.month.saved) == ("Feb 2026", 1, None)
    assert page.month.lost == pytest.approx(math.fsum(w.metrics["money_lost"] for w in matured))
    cost = sum(r.cost for r in workspace.metadata.find(Run)) + sum(w.metrics["cost"] for w in closed)
    assert page.month.loop == pytest.approx(cost)
    assert [brief.model for brief in page.models] == [MODELS[task]]
    assert page.sentence.endswith("the loop and the gateway are not running: `trimtab up`.")


def test_the_first_missing_record_is_named_with_its_command(tmp_path: Path) -> None:
    page = loop_overview(open_small(make_project(tmp_path / "project")))
    assert page.sentence == "No table yet: `trimtab ingest`."
    assert (page.month, page.waits, page.events) == (None, (), ())


def test_a_model_without_a_judged_window_is_not_called_good(tmp_path: Path) -> None:
    said = models_page(open_small(make_project(tmp_path / "project"))).sentence
    assert "none is judged yet, so what mistakes cost is not known" in said
    assert "none loses" not in said


def test_what_waits_comes_oldest_first_until_it_is_answered(tmp_path: Path) -> None:
    # given two reviews an hour apart, and a loop that runs
    workspace = open_small(make_project(tmp_path / "project"))
    workspace.metadata.put(msgspec.structs.replace(champion_revision(1, 1), model="risk", id="risk#1"))
    first = decide(workspace, "review", model="risk", start=AS_OF)
    workspace.clock.sleep(3600)
    second = decide(workspace, "review", model="risk", start=AS_OF + DAY)
    workspace.clock.sleep(1800)
    with only_loop(workspace, "trimtab up"):
        page = loop_overview(workspace)
    assert [(w.number, w.waits_s, w.proposes) for w in page.waits] == [(1, 5400.0, True), (2, 1800.0, True)]
    assert page.waits[0].reason == "a test"
    assert page.loop == "trimtab up"
    assert page.sentence.startswith("2 reviews wait for you; ")
    assert page.sentence.endswith("the gateway is not running: `trimtab up`.")
    resolve(workspace.metadata, first.id, "reject", reason="it passes", by="ann", clock=workspace.clock)
    page = loop_overview(workspace)
    assert [w.number for w in page.waits] == [second.number]
    assert "reject  risk/decision/1, by ann: it passes" in [event.text for event in page.events]


def test_rows_that_are_not_logged_are_said(tmp_path: Path) -> None:
    workspace = open_small(make_project(tmp_path / "project"))
    workspace.metadata.put(window_report())
    gap = LogGap(id="gap", created_at=AS_OF, worker="0", rows=1200, start=AS_OF, end=AS_OF, reason="full disk")
    workspace.metadata.put(gap)
    log = next(box for box in loop_overview(workspace).boxes if box.name == "log")
    assert (log.verdict, log.note) == ("warn", "1,200 rows are not logged")


def test_the_money_of_the_champion_before_is_what_was_saved(tmp_path: Path) -> None:
    # given a champion 2, and version 1 that lost 0.5 less a prediction in one window and 2 more in the other
    workspace = open_small(make_project(tmp_path / "project"))
    for day, gain in ((0, 0.5), (1, -2.0)):
        paired = {"paired_version": 2.0, "paired_rows": 800.0, "paired_money_gain": gain}
        reports = (
            window_report(day, version=2, metrics={"money_lost": 100.0}),
            window_report(day, version=1, role="shadow", metrics=paired),
            window_report(day, version=3, role="challenger", metrics={**paired, "paired_money_gain": 9.0}),
        )
        workspace.metadata.put(*(msgspec.structs.replace(r, model="risk", id=f"{day}/{r.version}") for r in reports))
    month = loop_overview(workspace).month
    assert month is not None
    assert (month.lost, month.saved, month.saved_windows) == (200.0, 1200.0, 2)


def test_events_are_the_newest_of_all_kinds(tmp_path: Path) -> None:
    workspace = open_small(make_project(tmp_path / "project"))
    clock = workspace.clock
    assert isinstance(clock, ManualClock)
    decide(workspace, "review", model="risk")
    for n in range(12):
        clock.sleep(60)
        step = WorkflowStep(
            id=f"{n}",
            created_at=clock.now(),
            workflow="w",
            model="risk",
            decision="risk/decision/1",
            step="train",
            outcome=f"try {n}",
            refers_to=None,
        )
        workspace.metadata.put(step)
    events = loop_overview(workspace).events
    assert [e.text.rpartition(" ")[2] for e in events] == [str(n) for n in range(11, 1, -1)]
