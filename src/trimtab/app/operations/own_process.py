"""Changes that a process of its own carries out: of refused rows, of what an older revision served, of aliases.

What reads tables, computes features or opens MLflow takes more memory than a server of pages may have.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import msgspec

from trimtab import errors
from trimtab.app.operations.actors import Actor
from trimtab.app.project.child_processes import ALIASES, AliasOrder
from trimtab.app.project.workspace import Workspace
from trimtab.errors import StoreError
from trimtab.records.data import QuarantineEnd
from trimtab.records.serving import Revision

log = logging.getLogger(__name__)

T = TypeVar("T")

PROGRAM = (sys.executable, "-m", "trimtab.app.operations.order_program")
SHOWN_CHARACTERS = 2000
"""Of what a process that died has written to standard error."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, on standard input: an environment may hold passwords. arguments: of the function of that name."""

    project: str
    environment: str
    """The policy's Environment as JSON."""
    actor: Actor
    name: str
    arguments: dict[str, Any]


class OrderDone(msgspec.Struct, frozen=True, kw_only=True):
    """The value as JSON, or the class and the text of an error."""

    value: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    text: str = ""


class RowsHandled(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to refused rows, and the version of the table that has them."""

    end: QuarantineEnd
    version: str | None = None


def order_rows(
    workspace: Workspace,
    actor: Actor,
    verb: Literal["release", "drop"],
    batch: str,
    *,
    rows: Sequence[int] = (),
    reason: str,
    key: str | None = None,
    force: bool = False,
) -> RowsHandled:
    """Release or drop held rows of a batch in a process of its own; wait for it.

    rows: numbers in the batch; all that are held by default. key: idempotency key; the same order again then returns
    the first result. force: also release rows that fail the checks.

    Raises Forbidden below developer, and what `refused_rows` raises.
    """
    actor.require("developer")
    values = {"verb": verb, "batch": batch, "rows": list(rows), "reason": reason, "force": force}
    return carry_out(workspace, actor, "handle_rows", RowsHandled, {**values, "again": key is not None})


def order_restoring(
    workspace: Workspace, actor: Actor, model: str, to: int, *, reason: str, key: str | None, seen: int | None
) -> Revision:
    """As `deploying.restore`, in a process of its own; wait for it."""
    actor.require("approver", model)
    values = {"model": model, "to": to, "reason": reason, "key": key, "seen": seen}
    return carry_out(workspace, actor, "restore", Revision, values)


def follow_aliases(workspace: Workspace, model: str) -> None:
    """Set the registry's aliases of a model to what serves, in a process of its own; wait for its end.

    What serves does not depend on it, so a failure is logged.
    """
    order = AliasOrder(
        project=str(workspace.project.folder), environment=workspace.environment.model_dump_json(), model=model
    )
    done = subprocess.run(ALIASES, input=msgspec.json.encode(order), stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        log.warning("model %s: its aliases in the registry still name what served before", model)


def carry_out(
    workspace: Workspace,
    actor: Actor,
    name: str,
    type_: type[T],
    arguments: dict[str, Any],
    *,
    program: Sequence[str] = PROGRAM,
) -> T:
    """Let a program call the function of that name, and wait for it; return its value or raise its error."""
    order = Order(
        project=str(workspace.project.folder),
        environment=workspace.environment.model_dump_json(),
        actor=actor,
        name=name,
        arguments=arguments,
    )
    ended = subprocess.run(program, input=msgspec.json.encode(order), capture_output=True, check=False)
    if ended.returncode:
        raise StoreError(f"the change could not be made: {ended.stderr[-SHOWN_CHARACTERS:].decode(errors='replace')}")
    done = msgspec.json.decode(ended.stdout, type=OrderDone)
    if done.error:
        kind = getattr(errors, done.error)
        raise StoreError(done.text) if kind is errors.MissingExtra else kind(done.text)
    return msgspec.json.decode(done.value, type=type_)
