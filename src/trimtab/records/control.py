"""Records of control: decisions, people's answers to them, workflow steps, the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from trimtab.records.record import Action, Level, Record


class Decision(Record, frozen=True, kw_only=True):
    """The decision about one window, with its reasons; id is `model/decision/number`; hash-chained."""

    KIND = "decision"
    KEYS = ("model", "number", "action", "start")
    JOINTLY = (("model", "action"), ("model", "start"))

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


class Resolution(Record, frozen=True, kw_only=True):
    """A person's answer to a decision that waits for review; id is `decision/resolution`."""

    KIND = "resolution"
    KEYS = ("decision", "model")

    model: str
    decision: str
    verdict: Literal["approve", "reject", "acknowledge"]
    reason: str
    by: str


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
