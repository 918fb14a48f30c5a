"""The ledger of a project: the policy's versions in it, its verification, and breaks that a person accepts."""

from __future__ import annotations

import hashlib

from trimtab.app.project.project import POLICY
from trimtab.app.project.workspace import Workspace
from trimtab.control.ledger import verify_chain
from trimtab.errors import Conflict, StoreError, UsageError
from trimtab.records.control import Decision, LedgerAcceptance, PolicyVersion
from trimtab.stores.metadata.chain import REMEDY, Break, LedgerState
from trimtab.stores.metadata.contract import latest
from trimtab.units import plural

__all__ = ["REMEDY", "accept", "describe", "ledger_line", "note_policy", "verify_ledger"]


def note_policy(workspace: Workspace) -> PolicyVersion:
    """Write the text of trimtab.yaml when it is another one than was written last; return its version."""
    text = (workspace.project.folder / POLICY).read_text(encoding="utf-8")
    hash_ = hashlib.sha256(text.encode()).hexdigest()
    while True:
        last = latest(workspace.metadata, PolicyVersion)
        if last is not None and last.hash == hash_:
            return last
        number = last.number + 1 if last else 1
        version = PolicyVersion(id=f"policy/{number}", created_at=workspace.now(), number=number, hash=hash_, text=text)
        try:
            workspace.metadata.put(version)
        except Conflict:  # another process wrote this number
            continue
        return version


def verify_ledger(workspace: Workspace) -> LedgerState:
    """Verify the whole ledger, and the chain of decisions of each model. Raises StoreError."""
    state = workspace.metadata.verify()
    found = []
    for model in workspace.project.definitions.served:
        try:
            verify_chain(workspace.metadata.find(Decision, model=model, oldest_first=True))
        except StoreError as error:
            found.append(Break(key=f"decisions/{model}/{error}", text=str(error)))
    known = {key for one in workspace.metadata.find(LedgerAcceptance) for key in one.breaks}
    return LedgerState(
        head=state.head,
        breaks=(*state.breaks, *(one for one in found if one.key not in known)),
        accepted=(*state.accepted, *(one for one in found if one.key in known)),
    )


def describe(state: LedgerState) -> str:
    """Return how many entries there are, and the hash of the last one."""
    if state.head is None:
        return "no entries yet"
    entries = "1 entry holds" if state.head.number == 1 else f"{state.head.number:,} entries hold"
    accepted = f"; accepted: {plural(len(state.accepted), 'break')}" if state.accepted else ""
    return f"{entries}, head {state.head.hash}{accepted}"


def ledger_line(workspace: Workspace) -> str:
    """Return the head of the ledger, to be kept elsewhere; or that it does not hold. Reads the last entry only."""
    state = workspace.metadata.verify(last=1)
    if state.breaks:
        return f"ledger   {state.breaks[0].text}. {REMEDY}"
    if (head := state.head) is None:
        return "ledger   no entries yet"
    return f"ledger   {plural(head.number, 'entry', 'entries')}, head {head.hash}"


def accept(workspace: Workspace, *, reason: str, by: str) -> LedgerAcceptance:
    """Write that the breaks of the ledger are known, so that decisions go on. Raises UsageError."""
    if not reason.strip():
        raise UsageError("the acceptance of a broken ledger needs a reason: it stands in the ledger")
    state = verify_ledger(workspace)
    if not state.breaks:
        raise UsageError(f"there is nothing to accept: {describe(state)}")
    number = workspace.metadata.count(LedgerAcceptance) + 1
    acceptance = LedgerAcceptance(
        id=f"ledger/acceptance/{number}",
        created_at=workspace.now(),
        breaks=tuple(one.key for one in state.breaks),
        texts=tuple(one.text for one in state.breaks),
        reason=reason.strip(),
        by=by,
    )
    workspace.metadata.put(acceptance)
    return acceptance
