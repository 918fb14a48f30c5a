"""Orders a promotion in a process of its own, for the console.

Copying opens MLflow and computes features, which takes more memory than a server of pages may have.
"""

from __future__ import annotations

import sys

from trimtab.app.operations.actors import Actor
from trimtab.app.operations.own_process import carry_out
from trimtab.app.project.workspace import Workspace
from trimtab.records.record import Role
from trimtab.records.serving import Revision

PROGRAM = (sys.executable, "-m", "trimtab.app.delivery.promotion_program")


def order_promotion(
    target: Workspace,
    actor: Actor,
    model: str,
    *,
    source: str,
    version: int | None,
    role: Role | None,
    share: float | None,
    reason: str,
    force: bool,
    again: bool,
) -> Revision:
    """As `promote`, in a process of its own; wait for it. source: name of the environment that has the bundle."""
    values = {"model": model, "source": source, "version": version, "role": role, "share": share}
    values |= {"reason": reason, "force": force, "again": again}
    return carry_out(target, actor, "promote", Revision, values, program=PROGRAM)
