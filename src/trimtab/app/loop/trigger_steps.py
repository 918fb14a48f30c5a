"""The triggers of the policy: requests, rows and times become events, and each event is acted on once.

An event is a record before anything is done about it, and what is done goes by the event's id: a process that dies in
between does it at its next start, and what was done twice is there once. Retrainings are requests, which the controller
answers by decisions; new rows are taken in by a workflow that goes on after a crash.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from trimtab import units
from trimtab.app.jobs.passing_failures import may_pass
from trimtab.app.loop.intake import trigger_intake
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages import ingesting
from trimtab.control.retrain_requests import request_retraining
from trimtab.control.trigger_events import (
    cooling_until,
    found_event,
    in_force_since,
    outcome_of,
    passed_times,
    trigger_event,
)
from trimtab.errors import TrimtabError
from trimtab.lazy_library import LazyLibrary
from trimtab.policy.trigger_rules import TriggerRule, last_time, times_after
from trimtab.records.control import TriggerEvent, TriggerOutcome
from trimtab.records.data import TableVersion
from trimtab.stores.metadata.contract import latest, newest_until, newest_where
from trimtab.training.environment import git_output

if TYPE_CHECKING:
    import dbos
else:  # commands that look at a loop import this file, and run no workflow
    dbos = LazyLibrary("dbos")

log = logging.getLogger(__name__)

WORKFLOW = "trigger"
BY_LOOP = "trimtab"
NO_RULE = "trimtab.yaml has no such trigger any more"
SHORT_COMMIT = 12


class Triggers:
    """The triggers of one project. One instance a process, made before DBOS is launched."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._metadata = workspace.metadata
        self._rules = workspace.project.policy.triggers
        self._intake = trigger_intake(workspace)
        events = self._metadata.find(TriggerEvent, oldest_first=True)
        ended = {outcome.event for outcome in self._metadata.find(TriggerOutcome)} if events else set()
        self._waiting = [event for event in events if event.id not in ended]
        """Events without an outcome, oldest first."""
        self._last = events[-1].id if events else None
        """The newest event that was read."""
        self._started: set[str] = set()
        """Those of them whose workflow runs."""
        now = workspace.now()
        self._since = {
            name: in_force_since(self._metadata, name, rule) or now
            for name, rule in self._rules.items()
            if rule.on in ("schedule", "new_data")
        }
        """Since when a trigger counts times or rows."""
        self._next: dict[str, datetime] = {}
        """When to look at a schedule again."""
        self._counted: dict[str, int] = {}
        """The position of the newest version of a table at which rows were counted last."""
        merges = any(rule.on == "merge" for rule in self._rules.values())
        self._head = git_output(workspace.project.folder, "rev-parse", "--verify", "HEAD") if merges else None
        """The commit of the code that this process runs."""

        @dbos.DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
        def act(event: str) -> None:
            self._run(event)

        self._workflow = act

    @property
    def busy(self) -> bool:
        """Whether a workflow takes in rows."""
        return bool(self._started)

    def step(self, *, replaying: bool = False) -> int:
        """Write the events that are due, and act on those that wait; return on how many.

        replaying: leave schedules for later, since a replay compresses event time, and their times are wall time.
        """
        if not self._rules and not self._waiting:
            return 0
        self._intake.step()
        if not replaying:
            self._look_at_clock(self._workspace.now())
        positions = self._metadata.positions()
        self._look_at_tables(positions[TableVersion.KIND])
        new = self._metadata.find(TriggerEvent, oldest_first=True, before=self._last)
        if new:
            self._last = new[-1].id
            self._waiting += new
        return sum(self._act(event) for event in list(self._waiting))

    def _look_at_clock(self, now: datetime) -> None:
        """Write an event for the newest time of each schedule that has passed; it stands for those before it, too."""
        for name, rule in self._rules.items():
            if rule.cron is None or (name in self._next and now < self._next[name]):
                continue
            self._next[name] = times_after(rule, now, 1)[0]
            due, since = last_time(rule, now), self._since[name]
            earlier = newest_where(self._metadata, TriggerEvent, lambda event: event.due is not None, name=name)
            if earlier is not None and earlier.due is not None:
                since = max(since, earlier.due)
            if due <= since:
                continue
            reason = f"the schedule {rule.cron} ({rule.timezone}) was due at {due:%Y-%m-%d %H:%M}"
            if passed := passed_times(rule, since, due):
                reason += f"; {units.plural(passed, 'earlier time')} passed while no loop looked"
            due = due.astimezone(UTC)
            key = f"{due:%Y-%m-%dT%H:%MZ}"
            trigger_event(self._metadata, name, key=key, cause="schedule", reason=reason, by=BY_LOOP, at=now, due=due)

    def _look_at_tables(self, position: int) -> None:
        """Write an event for each table that has gained the rows that its trigger waits for."""
        for name, rule in self._rules.items():
            if rule.on != "new_data" or self._counted.get(name) == position:
                continue
            now, until = self._workspace.now(), cooling_until(self._metadata, name, rule)
            if until is not None and now < until:
                continue  # the rows count on
            self._counted[name] = position
            newest, gained = self._gained(name, rule)
            if newest is None or rule.min_rows is None or gained < rule.min_rows:
                continue
            reason = (
                f"table {rule.source} has gained {gained:,} rows by version {newest.version}; "
                f"min_rows is {rule.min_rows:,}"
            )
            trigger_event(
                self._metadata,
                name,
                key=f"version-{newest.version}",
                cause="new_data",
                reason=reason,
                by=BY_LOOP,
                at=now,
                version=newest.version,
            )

    def _gained(self, name: str, rule: TriggerRule) -> tuple[TableVersion | None, int]:
        """Return the newest version of a trigger's table, and the rows that it has gained since the last event."""
        last = latest(self._metadata, TriggerEvent, name=name)
        if last is not None and last.version is not None:
            counted = last.version

            def known(version: TableVersion) -> bool:
                return version.version <= counted
        else:
            since = self._since[name] if last is None else max(last.created_at, self._since[name])

            def known(version: TableVersion) -> bool:
                return version.created_at <= since

        found = newest_until(self._metadata, TableVersion, known, table=rule.source)
        return (found[0] if found else None), sum(version.added_rows for version in found)

    def _act(self, event: TriggerEvent) -> int:
        """Act on an event, or go on waiting; return 1 if it has come to an end."""
        if event.id in self._started:
            if outcome_of(self._metadata, event.id) is None:
                return 0
            self._started.discard(event.id)
            self._waiting.remove(event)
            return 1
        if any(other.id in self._started for other in self._waiting if other.name == event.name):
            return 0
        rule = self._rules.get(event.name)
        until = None if rule is None else cooling_until(self._metadata, event.name, rule)
        if rule is None:
            self._end(event, "failed", NO_RULE)
        elif until is not None and event.created_at < until:
            self._end(event, "skipped", f"it came within the cooldown, which ends at {until:%Y-%m-%d %H:%M:%S}")
        elif rule.run == "retrain":
            self._ask(event, rule)
        elif self._started:  # rows are taken in by one workflow at a time
            return 0
        else:
            self._started.add(event.id)
            with dbos.SetWorkflowID(event.id):
                dbos.DBOS.start_workflow(self._workflow, event.id)
            return 0
        self._waiting.remove(event)
        return 1

    def _run(self, event: str) -> None:
        """The workflow: take in rows and ask for retrainings, again after a pause while it fails by what may pass."""
        attempt = 1
        while (pause := dbos.DBOS.run_step({"name": "act"}, self._take_in, event, attempt)) is not None:
            dbos.DBOS.sleep(pause)
            attempt += 1

    def _take_in(self, id_: str, attempt: int) -> float | None:
        """Act on an event that takes in rows, unless that is done; return the seconds after which to try again."""
        event = found_event(self._metadata, id_)
        if event is None or outcome_of(self._metadata, id_) is not None:
            return None
        rule = self._rules.get(event.name)
        if rule is None:
            self._end(event, "failed", NO_RULE)
            return None
        try:
            done = ingesting.ingest(self._workspace, rule.source)
        except Exception as error:  # a border: the worker
            retrain = self._workspace.project.policy.retrain
            if may_pass(error) and attempt <= retrain.retries:
                log.warning("%s failed, which may pass: %s", id_, error)
                return (retrain.backoff << (attempt - 1)) / units.MICROS["s"]
            if not isinstance(error, TrimtabError):
                log.exception("%s failed", id_)
            why = str(error) if isinstance(error, TrimtabError) else f"{type(error).__name__}: {error}"
            self._end(event, "failed", f"no rows were taken in: {why}")
            return None
        rows = sum(each.rows_added for each in done)
        refused = sum(each.rows_quarantined for each in done)
        text = f"{units.plural(rows, 'new row')}" + (f", {refused:,} in quarantine" if refused else "")
        if rule.run == "pipeline":
            self._ask(event, rule, text)
        else:
            self._end(event, "done", text)
        return None

    def _ask(self, event: TriggerEvent, rule: TriggerRule, before: str = "") -> None:
        """Ask for the retrainings of an event; the controller answers each by a decision."""
        models = rule.models or list(self._workspace.project.definitions.models)
        requests = tuple(
            request_retraining(
                self._metadata,
                model,
                key=f"{event.name}:{event.key}",
                source="trigger",
                reason=f"trigger {event.name}: {event.reason}",
                by=event.by,
                at=event.created_at,
            ).id
            for model in models
        )
        text = f"asked to retrain {', '.join(models)}"
        if event.commit is not None and self._head is not None and not self._head.startswith(event.commit):
            text += (
                f"; this loop runs the code of {self._head[:SHORT_COMMIT]}, not of {event.commit[:SHORT_COMMIT]}: "
                "update its folder and start trimtab up again"
            )
        self._end(event, "done", "; ".join(part for part in (before, text) if part), requests)

    def _end(
        self,
        event: TriggerEvent,
        state: Literal["done", "skipped", "failed"],
        outcome: str,
        requests: tuple[str, ...] = (),
    ) -> None:
        self._metadata.put(
            TriggerOutcome(
                id=f"{event.id}/outcome",
                created_at=self._workspace.now(),
                name=event.name,
                event=event.id,
                state=state,
                outcome=outcome,
                fired_at=event.created_at,
                requests=requests,
            )
        )
