"""Records of control: decisions, people's answers to them, workflow steps, the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from trimtab.records.record import Action, Level, Record

Trigger = Literal["matrix", "routine", "data", "request", "lead", "limit", "failure"]
"""What led to a decision: the decision matrix; the refresh of the policy; new data; a request by the API, a command or
a person; a shadow that leads the champion; a limit of `rollback_when`; a stage or a process that failed."""


class Decision(Record, frozen=True, kw_only=True):
    """The decision about one window, with its reasons; id is `model/decision/number`; hash-chained."""

    KIND = "decision"
    KEYS = ("model", "number", "action", "start", "band", "impact", "cell", "held_by")
    JOINTLY = (("model", "action"), ("model", "start"), ("model", "band", "impact", "action"))

    model: str
    number: int
    version: int
    """The champion that was judged."""
    window: str
    """Id of the WindowReport that was judged."""
    start: datetime
    end: datetime
    band: str
    """Name of the p-value band."""
    p_seq: float
    p: float
    impact_per_day: float
    impact: Level
    cell: Action
    """The action of the decision matrix."""
    action: Action
    """The action that was taken: cooldown, budget, or missing evidence of harm can replace the cell by a milder one."""
    reasons: tuple[str, ...]
    signals: tuple[str, ...]
    by: str
    previous_hash: str
    hash: str
    trigger: Trigger = "matrix"
    to_version: int | None = None
    """Of a rollback: the version that is to serve again; None takes the champion before."""
    held_by: str | None = None
    """Name of the brake (control/brakes.py) that led to `action`; empty: none did. None in older records: not known."""
    held_until: datetime | None = None
    """Event time at which that brake ends by itself, if it does."""


class Resolution(Record, frozen=True, kw_only=True):
    """A person's answer to a decision that waits for review; id is `decision/resolution`."""

    KIND = "resolution"
    KEYS = ("decision", "model")

    model: str
    decision: str
    verdict: Literal["approve", "reject", "acknowledge"]
    reason: str
    by: str
    as_of: datetime | None = None
    """Event time: end of the model's newest closed window. None before its first one, and in older records."""


class WorkflowStep(Record, frozen=True, kw_only=True):
    """One finished step of a retraining workflow; id is `workflow/step`."""

    KIND = "workflow_step"
    KEYS = ("workflow", "model", "step")

    workflow: str
    model: str
    decision: str | None
    step: str
    outcome: str
    """The result in one line of text."""
    refers_to: str | None
    """Id of the record that the step wrote, if any."""


class Suspicion(Record, frozen=True, kw_only=True):
    """A stretch of event time whose rows are suspected: they neither train nor judge; id is `model/suspicion/start`."""

    KIND = "suspicion"
    KEYS = ("model", "start")

    model: str
    start: datetime
    end: datetime
    rule: Literal["inputs", "missing", "loss", "absolute", "person"]
    """What was broken: a leap of a column's mean, a missing share or the loss; an absolute rule; or a person's word."""
    subject: str
    """Column, or 'loss'."""
    value: float
    limit: float
    known_at: datetime
    """Event time at which it was found."""
    reason: str


class SuspicionEnd(Record, frozen=True, kw_only=True):
    """The end of a suspicion: its rows are used again; id is `suspicion/end`."""

    KIND = "suspicion_end"
    KEYS = ("model", "start")

    model: str
    start: datetime
    """Start of the suspicion."""
    suspicion: str
    """Id of the suspicion."""
    outcome: Literal["let_in", "new_world", "rule_dropped"]
    """A person let the rows in; it has lasted too long for a fault; too many windows were suspected."""
    known_at: datetime
    """Event time at which it ended."""
    reason: str
    by: str


class Freeze(Record, frozen=True, kw_only=True):
    """The start or the end of a freeze, during which nothing is retrained or promoted; id is `freeze/model/number`."""

    KIND = "freeze"
    KEYS = ("model", "number")

    model: str
    """Empty for all models."""
    number: int
    frozen: bool
    until: datetime | None
    """When it ends by itself; None: by `trimtab unfreeze`."""
    reason: str
    by: str


class RetrainRequest(Record, frozen=True, kw_only=True):
    """A request to retrain a model, which the controller answers by a decision; id is `model/request/key`."""

    KIND = "retrain_request"
    KEYS = ("model", "key")

    model: str
    key: str
    """A second request with the same key is the same request."""
    source: Literal["api", "command", "data", "trigger"]
    reason: str
    by: str


class TriggerEvent(Record, frozen=True, kw_only=True):
    """One event of a trigger of the policy, which the loop acts on once; id is `trigger/name/key`."""

    KIND = "trigger_event"
    KEYS = ("name",)

    name: str
    """Of the trigger."""
    key: str
    """A second event with the same key is the same event."""
    cause: Literal["request", "command", "new_data", "schedule"]
    """A request to the gateway, a command, rows of a table, or a time of the schedule."""
    reason: str
    by: str
    commit: str | None = None
    """Of a merge."""
    reference: str | None = None
    """Branch of a merge."""
    version: int | None = None
    """Of new data: the version of the table up to which rows were counted."""
    due: datetime | None = None
    """Of a schedule: the time that it stands for."""


class TriggerOutcome(Record, frozen=True, kw_only=True):
    """What became of an event of a trigger; id is `event/outcome`."""

    KIND = "trigger_outcome"
    KEYS = ("name", "event", "state")

    name: str
    """Of the trigger."""
    event: str
    """Id of the TriggerEvent."""
    state: Literal["done", "skipped", "failed"]
    outcome: str
    """The result in one line of text."""
    fired_at: datetime
    """When the event came, from which a cooldown counts."""
    requests: tuple[str, ...] = ()
    """Ids of the requests to retrain that it made."""


class PolicyVersion(Record, frozen=True, kw_only=True):
    """The text of trimtab.yaml from `created_at` on; id is `policy/number`."""

    KIND = "policy_version"
    KEYS = ("number",)

    number: int
    hash: str
    """SHA-256 of the text."""
    text: str


class LedgerEntry(Record, frozen=True, kw_only=True):
    """One entry of the hash chain over all decisions; id is `ledger/number`. The store writes it with its record."""

    KIND = "ledger_entry"
    KEYS = ("number",)

    number: int
    kind: str
    """Kind of the record."""
    record: str
    """Id of the record."""
    digest: str
    """SHA-256 of the record as it is stored."""
    previous_hash: str
    hash: str


class LedgerAcceptance(Record, frozen=True, kw_only=True):
    """A person's confirmation that breaks of the ledger are known; id is `ledger/acceptance/number`."""

    KIND = "ledger_acceptance"
    KEYS = ("by",)

    breaks: tuple[str, ...]
    """Keys of the breaks."""
    texts: tuple[str, ...]
    """The breaks in words."""
    reason: str
    by: str
