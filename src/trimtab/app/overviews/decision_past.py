"""What a decision was made from: the records and the policy of its time, put together again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from trimtab.app.gateway.turns import judging_policy
from trimtab.app.llm.searches import no_search
from trimtab.app.project.workspace import Workspace
from trimtab.control.cause import gather
from trimtab.control.decision import Draft
from trimtab.control.history import STOP, ControlEvents, gather_history
from trimtab.control.holds import active_freeze, freeze_reason
from trimtab.control.levers import Given
from trimtab.control.refresh import LabelledRows, labelled_rows
from trimtab.control.reviews import proposes_retraining
from trimtab.control.suspicion import Quarantined, held, joined, overlaps, read
from trimtab.control.way_back import leads
from trimtab.errors import NotFound, PolicyError, StoreError
from trimtab.policy.model import Policy
from trimtab.policy.reader import parse_policy
from trimtab.records.control import Decision, PolicyVersion, Resolution, WorkflowStep
from trimtab.records.monitoring import WindowReport
from trimtab.records.record import Record
from trimtab.stores.faults import Fault
from trimtab.stores.metadata.chain import LedgerState
from trimtab.stores.metadata.contract import Metadata, R

PAGE = 100
ENDS = (STOP, "promote", "abandon")
"""Last steps of a retraining's workflow."""


class PastMetadata:
    """The records that were there before a decision. Nothing can be written."""

    def __init__(self, metadata: Metadata, decision: Decision) -> None:
        self._metadata = metadata
        self._decision = decision

    def _was_there(self, record: Any) -> bool:
        if isinstance(record, Decision) and record.model == self._decision.model:
            return record.number < self._decision.number
        there: bool = record.created_at <= self._decision.created_at
        return there

    def _read(self, kind: type[R], oldest_first: bool, before: str | None, size: int, where: Any) -> Iterator[R]:
        while True:
            page = self._metadata.find(kind, limit=size, oldest_first=oldest_first, before=before, **where)
            yield from filter(self._was_there, page)
            if len(page) < size:
                return
            before, size = page[-1].id, PAGE

    def find(
        self,
        kind: type[R],
        /,
        *,
        limit: int | None = None,
        oldest_first: bool = False,
        before: str | None = None,
        **where: Any,
    ) -> Sequence[R]:
        """As Metadata.find."""
        if limit is None:
            found = self._metadata.find(kind, oldest_first=oldest_first, before=before, **where)
            return [record for record in found if self._was_there(record)]
        records = self._read(kind, oldest_first, before, limit, where)
        return [record for record, _ in zip(records, range(limit), strict=False)]

    def get(self, kind: type[R], id_: str, /) -> R:
        """As Metadata.get."""
        return self._metadata.get(kind, id_)

    def count(self, kind: type[Record], /, **where: Any) -> int:
        """As Metadata.count."""
        return len(self.find(kind, **where))

    def put(self, *records: Record) -> None:
        """Refuse: the past is read. Raises StoreError."""
        raise StoreError(f"{len(records)} records cannot be written into the past")

    def positions(self) -> dict[str, int]:
        """As Metadata.positions, of the present."""
        return self._metadata.positions()

    def check(self) -> Sequence[Fault]:
        """As Metadata.check, of the present."""
        return self._metadata.check()

    def verify(self, *, last: int | None = None) -> LedgerState:
        """As Metadata.verify, of the present."""
        return self._metadata.verify(last=last)

    def close(self) -> None:
        """Leave the store open: it is another's."""


@dataclass(frozen=True, kw_only=True)
class DecisionPast:
    """What a decision was made from. policy: of its time. given, draft: the same decision, made again; None when the
    records of that time do not lead to it any more, and `unlike` says why."""

    policy: Policy
    window: WindowReport | None
    given: Given | None
    draft: Draft | None
    unlike: str = ""


def decision_past(workspace: Workspace, decision: Decision) -> DecisionPast:
    """Make a decision again from the records of its time."""
    policy, changed = _policy(workspace, decision)
    try:
        window = workspace.metadata.get(WindowReport, decision.window)
    except NotFound:
        why = "it answers a request, so no window was judged" if decision.trigger == "request" else "its window is gone"
        return DecisionPast(policy=policy, window=None, given=None, draft=None, unlike=why)
    given = _given(PastMetadata(workspace.metadata, decision), policy, window, no_search(workspace, decision.model))
    draft = given.decide()
    same = draft is not None and (draft.band, draft.impact, draft.cell, draft.action, draft.trigger) == (
        decision.band,
        decision.impact,
        decision.cell,
        decision.action,
        decision.trigger,
    )
    if same:
        return DecisionPast(policy=policy, window=window, given=given, draft=draft)
    why = changed or "the records that are kept do not lead to this decision any more"
    return DecisionPast(policy=policy, window=window, given=None, draft=None, unlike=why)


def _policy(workspace: Workspace, decision: Decision) -> tuple[Policy, str]:
    """Return the policy of the time of a decision; where it is not known, the present one, and why."""
    model = workspace.project.definitions.served.get(decision.model)
    present, why = workspace.project.policy, ""
    versions = workspace.metadata.find(PolicyVersion)
    of_its_time = next((v for v in versions if v.created_at <= decision.created_at), None)
    if of_its_time is None:
        why = "the policy of its time is not recorded"
    else:
        try:
            present = parse_policy(of_its_time.text, of_its_time.id)
        except PolicyError as error:
            why = f"the policy of its time is not one of this release: {error}"
    return (present if model is None else judging_policy(present, model.task, measured=True)), why


def _given(past: PastMetadata, policy: Policy, window: WindowReport, unsearchable: str) -> Given:
    model, size = window.model, policy.decide.window
    cause = gather(past, window, over=policy.impact.over, size=size)
    freeze = active_freeze(past, model, window.end + timedelta(microseconds=policy.decide.labels_mature_after))
    history = gather_history(
        ControlEvents(past, model),
        time=window.end,
        running=_running(past, model),
        frozen=None if freeze is None else freeze_reason(freeze),
        frozen_until=None if freeze is None else freeze.until,
        no_search=unsearchable,
    )
    suspected = held(past, model, as_of=window.end)
    by_rows = policy.retrain.refresh is not None or policy.retrain.on_new_data is not None
    metric = policy.rollout.promote_when.metric
    return Given(
        cause=cause,
        policy=policy,
        history=history,
        rows=labelled_rows(past, model, history, until=window.end, suspected=suspected) if by_rows else LabelledRows(),
        quarantined=_quarantined(past, policy, window),
        leads=leads(past, model, until=window.end, metric=metric, suspected=suspected),
    )


def _running(past: PastMetadata, model: str) -> int:
    """Return how many retrainings had not ended."""
    asked = [d for d in past.find(Decision, model=model) if d.action == "retrain" or proposes_retraining(d)]
    rejected = {r.decision for r in past.find(Resolution, model=model) if r.verdict == "reject"}
    ended = {s.decision for s in past.find(WorkflowStep, model=model) if s.step in ENDS}
    return len({d.id for d in asked} - rejected - ended)


def _quarantined(past: PastMetadata, policy: Policy, window: WindowReport) -> Quarantined:
    """Return what the rules of suspicion had said of a window."""
    if policy.retrain.refresh is None or not policy.retrain.quarantine.enabled:
        return Quarantined()
    known = read(past, window.model)
    found = tuple(s for s in known.suspicions if s.known_at == window.end and s.rule != "person")
    ended = tuple(e for e in known.ends.values() if e.known_at == window.end and e.outcome != "let_in")
    gone = {end.suspicion for end in ended}
    open_ = [s for s in known.suspicions if s.known_at <= window.end and _holds(known.ends.get(s.id), window.end, gone)]
    ruled = [s for s in open_ if s.rule != "person"]
    last = [(a, b) for a, b in joined((s.start, s.end) for s in ruled) if b == window.end]
    return Quarantined(
        found=found,
        ended=ended,
        suspected=overlaps(window, [(s.start, s.end) for s in open_]),
        run=sum(overlaps(s, last) for s in ruled),
    )


def _holds(end: Any, at: datetime, gone: set[str]) -> bool:
    return end is None or (end.known_at > at and end.suspicion not in gone)
