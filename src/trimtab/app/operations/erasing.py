"""Erases the text of one turn, user or conversation, and records who asked for it and why."""

from __future__ import annotations

import re

from trimtab.app.operations.actors import Actor
from trimtab.app.project.workspace import Workspace
from trimtab.clock import to_micros
from trimtab.errors import UsageError
from trimtab.llm.redaction.project_key import SHOWN_CHARS, project_key
from trimtab.records.llm import TextErasure
from trimtab.stores.predictions.contract import ErasedBy

_HASH = re.compile(f"[0-9a-f]{{{SHOWN_CHARS}}}")


def erase_text(
    workspace: Workspace, actor: Actor, column: ErasedBy, name: str, *, reason: str, tenant: str = ""
) -> TextErasure:
    """Erase the text that was logged until now. The numbers of the turns stay.

    name: of a user or a conversation as requests name it, or its hash as the log shows it; or the id of a turn. tenant:
    name of the token that it came with; empty without tokens.

    Raises Forbidden below admin, UsageError without a reason, StageError and StoreError.
    """
    actor.require("admin")
    if not reason.strip():
        raise UsageError("why? Text is erased for a reason, which is recorded: --reason '...'")
    value = name
    if column != "prediction_id" and not _HASH.fullmatch(name):
        key = project_key(workspace.root, workspace.project.policy.llm.store.key)
        value = key.of_name(column, f"{tenant}\x1f{name}")
    rows = workspace.predictions.erase_contents(column, value)
    now = workspace.now()
    record = TextErasure(
        id=f"erasure/{column}/{value}/{to_micros(now)}",
        created_at=now,
        column=column,
        value=value,
        rows=rows,
        reason=reason,
        by=actor.name,
    )
    workspace.metadata.put(record)
    return record
