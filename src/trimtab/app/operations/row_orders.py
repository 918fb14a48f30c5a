"""Orders to release or drop refused rows, and to set aliases, carried out by processes of their own.

Polars and MLflow take more memory than a server of pages may have.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal

import msgspec

from trimtab import errors
from trimtab.app.operations.actors import Actor
from trimtab.app.project.child_processes import ALIASES, AliasOrder
from trimtab.app.project.workspace import Workspace
from trimtab.errors import StoreError
from trimtab.records.data import QuarantineEnd

log = logging.getLogger(__name__)

ROWS = (sys.executable, "-m", "trimtab.app.operations.refused_rows")
SHOWN_CHARACTERS = 2000
"""Of what a process that died has written to standard error."""


class RowsOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with held rows, on standard input: an environment may hold passwords."""

    project: str
    environment: str
    """The policy's Environment as JSON."""
    actor: Actor
    verb: Literal["release", "drop"]
    batch: str
    rows: tuple[int, ...]
    reason: str
    force: bool
    repeatable: bool
    """The same order again returns the first result instead of an error."""


class RowsHandled(msgspec.Struct, frozen=True, kw_only=True):
    """The result: an answer with the version that has the rows, or the class and the text of an error."""

    end: QuarantineEnd | None = None
    version: str | None = None
    error: str = ""
    text: str = ""


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
    order = RowsOrder(
        project=str(workspace.project.folder),
        environment=workspace.environment.model_dump_json(),
        actor=actor,
        verb=verb,
        batch=batch,
        rows=tuple(rows),
        reason=reason,
        force=force,
        repeatable=key is not None,
    )
    done = subprocess.run(ROWS, input=msgspec.json.encode(order), capture_output=True, check=False)
    if done.returncode:
        raise StoreError(f"the rows could not be handled: {done.stderr[-SHOWN_CHARACTERS:].decode(errors='replace')}")
    handled = msgspec.json.decode(done.stdout, type=RowsHandled)
    if handled.error:
        kind = getattr(errors, handled.error)
        raise StoreError(handled.text) if kind is errors.MissingExtra else kind(handled.text)
    return handled


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
