"""Triggers in the loop: each event is acted on once, whatever happens in between, and through the usual brakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from dbos import DBOS

from kit.small_project import POLICY, make_project
from kit.waiting import wait_for
from trimtab.app.loop.intake import trigger_intake
from trimtab.app.loop.steering import Steering
from trimtab.app.loop.trigger_steps import Triggers
from trimtab.app.operations.actors import local_actor
from trimtab.app.operations.trigger_orders import fire_trigger
from trimtab.app.project.ledger_checks import note_policy
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports.trigger_list import trigger_events, trigger_list
from trimtab.app.stages import ingesting
from trimtab.clock import ManualClock, to_micros
from trimtab.control.controller import Controller
from trimtab.control.holds import set_freeze
from trimtab.errors import UsageError
from trimtab.records.control import Decision, RetrainRequest, TriggerEvent, TriggerOutcome
from trimtab.records.record import Record
from trimtab.serving.inbox import TRIGGERS, AskedTrigger, Inbox, inbox
from trimtab.testing.judged import RecordingActions

NOON = datetime(2026, 2, 2, 12, tzinfo=UTC)
HOUR_S, DAY_S = 3600, 86_400


class Crash(BaseException):
    """The end of the process."""


class Opened:
    """A project with triggers, on a clock of its own; `again` is a new process of its loop."""

    def __init__(self, folder: Path, triggers: dict[str, Any]) -> None:
        self.folder = folder
        if not folder.exists():
            make_project(folder)
        self.clock = ManualClock(NOON)
        self.write(triggers)

    def write(self, triggers: dict[str, Any]) -> None:
        """Change the policy; the loop starts anew with it."""
        (self.folder / "trimtab.yaml").write_text(POLICY + yaml.safe_dump({"triggers": triggers}))
        self.again()

    def again(self) -> Triggers:
        self.workspace: Workspace = open_workspace(self.folder, clock=self.clock)
        note_policy(self.workspace)
        self.triggers = Triggers(self.workspace)
        return self.triggers

    def step(self, *, hours: float = 0, replaying: bool = False) -> int:
        self.clock.sleep(hours * 3600)
        return self.triggers.step(replaying=replaying)

    def fire(self, name: str, key: str = "a", **more: Any) -> TriggerEvent:
        return fire_trigger(self.workspace, local_actor(), name, reason="new prices", key=key, **more)

    def add_rows(self, rows: int, of: str) -> None:
        self.clock.sleep(1)
        frame = pl.read_parquet(self.folder / "rows.parquet").head(rows)
        shifted = frame.with_columns(pl.col("at") + pl.duration(days=100 * (1 + len(of))))
        (self.folder / "rows").mkdir(exist_ok=True)
        shifted.write_parquet(self.folder / "rows" / f"{of}.parquet")
        ingesting.ingest(self.workspace)

    def all(self, kind: type[Record]) -> list[Any]:
        return list(self.workspace.metadata.find(kind, oldest_first=True))

    def outcomes(self) -> list[tuple[str, str]]:
        return [(one.event.removeprefix("trigger/"), one.state) for one in self.all(TriggerOutcome)]


@pytest.fixture(autouse=True)
def _without_dbos() -> Iterator[None]:
    yield
    DBOS.destroy(destroy_registry=True)


def opened(tmp_path: Path, **triggers: dict[str, Any]) -> Opened:
    return Opened(tmp_path / "project", triggers)


def test_an_event_asks_for_a_retraining_which_the_controller_decides(tmp_path: Path) -> None:
    project = opened(tmp_path, prices={"on": "webhook"})
    project.fire("prices")
    assert project.step() == 1
    (request,) = project.all(RetrainRequest)
    assert (request.key, request.source, request.reason) == ("prices:a", "trigger", "trigger prices: new prices")
    (outcome,) = project.all(TriggerOutcome)
    assert (outcome.state, outcome.outcome, outcome.requests) == ("done", "asked to retrain risk", (request.id,))
    assert project.step() == project.again().step() == 0
    actions, workspace = RecordingActions(), project.workspace
    Controller(workspace.metadata, workspace.project.policy, "risk", actions, workspace.clock).step()
    (decision,) = project.all(Decision)
    assert (decision.action, decision.trigger) == ("retrain", "request")
    assert "(trigger): trigger prices: new prices" in decision.reasons[0]


def test_a_freeze_and_the_budget_hold_what_a_trigger_asks_for(tmp_path: Path) -> None:
    project = opened(tmp_path, prices={"on": "webhook"})
    workspace = project.workspace
    spent = workspace.project.policy.model_copy(
        update={
            "decide": workspace.project.policy.decide.model_copy(
                update={"budget": workspace.project.policy.decide.budget.model_copy(update={"retrains": 0.0})}
            )
        }
    )
    project.fire("prices")
    project.step()
    Controller(workspace.metadata, spent, "risk", RecordingActions(), workspace.clock).step()
    set_freeze(workspace.metadata, "risk", frozen=True, reason="audit", by="ann", clock=workspace.clock)
    project.fire("prices", "b")
    project.step()
    Controller(workspace.metadata, workspace.project.policy, "risk", RecordingActions(), workspace.clock).step()
    assert [(d.action, d.held_by) for d in project.all(Decision)] == [("review", "budget"), ("monitor", "frozen")]


class Dying:
    """A `put` that ends the process at one write, before it or after it."""

    def __init__(self, put: Callable[..., None], at: int, *, after: bool) -> None:
        self._put, self._left, self._after = put, at, after

    def __call__(self, *records: Record) -> None:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Crash
        self._put(*records)
        if self._left == 0:
            raise Crash


def test_a_loop_that_dies_at_any_write_does_everything_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = opened(tmp_path, prices={"on": "webhook"})
    deaths = list(product((1, 2, 3), (False, True)))  # the event, the request, the outcome
    for number, (write, after) in enumerate(deaths):
        files = Inbox(inbox(project.workspace.run_folder, TRIGGERS), "worker-0", ("prices",))
        at = to_micros(project.clock.now())
        files.keep([AskedTrigger(name="prices", id=f"k{number}", reason="new", by="ann", received_at=at)])
        project.again()
        metadata = project.workspace.metadata
        monkeypatch.setattr(metadata, "put", Dying(metadata.put, write, after=after))
        with pytest.raises(Crash):
            project.step()
        project.again().step()
        assert project.again().step() == 0
    keys = [f"k{number}" for number in range(len(deaths))]
    assert [request.key for request in project.all(RetrainRequest)] == [f"prices:{key}" for key in keys]
    assert [event.key for event in project.all(TriggerEvent)] == keys
    assert project.outcomes() == [(f"prices/{key}", "done") for key in keys]


def test_times_that_passed_without_a_loop_are_made_up_for_once(tmp_path: Path) -> None:
    project = opened(tmp_path, nightly={"on": "schedule", "cron": "0 3 * * *", "timezone": "Europe/Berlin"})
    assert project.step() == 0  # the 3 o'clock of this day was before the trigger
    assert project.step(hours=13.9) == 0
    assert project.step(hours=0.2) == 1
    assert project.again().step() == 0
    project.clock.sleep(4 * DAY_S)
    assert project.again().step() == 1
    assert project.step() == project.step(hours=23.7) == 0
    first, second = project.all(TriggerEvent)
    assert (first.key, first.cause, first.by) == ("2026-02-03T02:00Z", "schedule", "trimtab")
    assert second.key == "2026-02-07T02:00Z"
    assert second.reason.endswith("due at 2026-02-07 03:00; 3 earlier times passed while no loop looked")
    project.write({"nightly": {"on": "schedule", "cron": "0 9 * * *"}})
    assert project.step() == 0  # the new time begins now


def test_a_replay_leaves_schedules_alone_and_they_run_after_it(tmp_path: Path) -> None:
    project = opened(tmp_path, nightly={"on": "schedule", "cron": "0 3 * * *"}, prices={"on": "webhook"})
    project.fire("prices")
    assert project.step(hours=20, replaying=True) == 1
    assert [each.name for each in project.all(TriggerEvent)] == ["prices"]
    assert project.step() == 1
    assert project.outcomes() == [("prices/a", "done"), ("nightly/2026-02-03T03:00Z", "done")]


def test_new_rows_start_a_retraining_when_they_are_enough(tmp_path: Path) -> None:
    rule = {"on": "new_data", "source": "rows", "min_rows": 100, "cooldown": "2h"}
    project = opened(tmp_path, enough=rule)
    definitions = project.folder / "definitions.py"
    definitions.write_text(definitions.read_text().replace('"rows.parquet"', '"rows"'))
    project.again()
    project.add_rows(99, "a")
    project.again()  # a new process, with the same trigger
    assert project.step() == 0
    project.add_rows(30, "bc")
    assert project.step() == 1
    (event,) = project.all(TriggerEvent)
    assert event.reason == "table rows has gained 129 rows by version 1; min_rows is 100"
    project.add_rows(200, "def")
    assert project.step(hours=1) == 0  # in the cooldown the rows count on
    assert project.again().step() == 0
    assert project.step(hours=1.1) == 1
    assert project.step(hours=9) == 0
    assert len(project.all(RetrainRequest)) == 2


def test_an_event_within_the_cooldown_is_skipped(tmp_path: Path) -> None:
    project = opened(tmp_path, prices={"on": "webhook", "cooldown": "2h"})
    for key in ("a", "b"):
        project.fire("prices", key)
    project.clock.sleep(2 * HOUR_S)
    project.fire("prices", "c")
    assert project.step() == 3  # by the times at which they came, not when they are looked at
    assert project.outcomes() == [("prices/a", "done"), ("prices/b", "skipped"), ("prices/c", "done")]
    assert [request.key for request in project.all(RetrainRequest)] == ["prices:a", "prices:c"]


def test_the_same_event_again_and_one_of_a_trigger_that_is_gone(tmp_path: Path) -> None:
    project = opened(tmp_path, prices={"on": "webhook"})
    first = project.fire("prices")
    project.clock.sleep(HOUR_S)
    assert project.fire("prices") == first
    with pytest.raises(UsageError, match=r"has no trigger 'price'\. Did you mean 'prices'"):
        project.fire("price")
    with pytest.raises(UsageError, match="no key of an event"):
        project.fire("prices", "a/b")
    project.write({})
    assert project.step() == 1
    (outcome,) = project.all(TriggerOutcome)
    assert (outcome.state, outcome.outcome) == ("failed", "trimtab.yaml has no such trigger any more")


def test_a_merge_says_when_the_loop_runs_another_commit(tmp_path: Path) -> None:
    project = opened(tmp_path, merged={"on": "merge"})
    project.fire("merged", "a", commit="0" * 39 + "1", reference="main")
    project.step()
    (outcome,) = project.all(TriggerOutcome)
    assert "not of 000000000000: update its folder and start trimtab up again" in outcome.outcome


@pytest.fixture
def steered(tmp_path: Path) -> Iterator[tuple[Opened, Steering]]:
    """The loop of a project with triggers that take in rows."""
    rules = {"all": {"on": "webhook", "run": "pipeline"}, "rows": {"on": "webhook", "run": "ingest", "source": "rows"}}
    project = opened(tmp_path, **rules)
    DBOS.destroy(destroy_registry=True)
    loop = Steering(project.workspace)
    loop.launch()
    yield project, loop
    loop.close()


def test_a_pipeline_takes_in_rows_and_then_asks_for_retrainings(steered: tuple[Opened, Steering]) -> None:
    project, loop = steered
    for name in ("all", "rows"):
        project.fire(name)

    def ended() -> bool:
        loop.step()
        return len(project.all(TriggerOutcome)) == 2

    wait_for(ended, "both events have an outcome")
    found = {one.name: one for one in project.all(TriggerOutcome)}
    assert {one.state for one in found.values()} == {"done"}
    assert (found["all"].outcome, found["rows"].outcome) == ("600 new rows; asked to retrain risk", "0 new rows")
    (request,) = project.all(RetrainRequest)
    assert found["all"].requests == (request.id,)


def test_rows_that_cannot_be_taken_in_are_told(steered: tuple[Opened, Steering]) -> None:
    project, loop = steered
    (project.folder / "rows.parquet").write_bytes(b"nonsense")
    project.fire("all")

    def ended() -> bool:
        loop.step()
        return bool(project.all(TriggerOutcome))

    wait_for(ended, "the event has an outcome")
    (outcome,) = project.all(TriggerOutcome)
    assert outcome.state == "failed"
    assert "rows.parquet" in outcome.outcome
    assert not project.all(RetrainRequest)


def test_an_event_that_no_loop_has_read_yet_is_listed_once(tmp_path: Path) -> None:
    opened = Opened(tmp_path / "small", {"prices": {"on": "webhook", "run": "ingest"}})
    workspace = opened.workspace
    asked = AskedTrigger(name="prices", id="a", reason="new prices", by="shop", received_at=to_micros(NOON))
    sent = Inbox(inbox(workspace.run_folder, TRIGGERS), "w", ["prices"])
    sent.keep([asked])
    sent.keep([asked])
    (waits,) = trigger_events(workspace, "prices")
    assert (waits.event.key, waits.event.by, waits.outcome) == ("a", "shop", None)
    assert trigger_list(workspace)[0].last == waits
    trigger_intake(workspace).step()
    assert trigger_events(workspace, "prices") == [waits]
