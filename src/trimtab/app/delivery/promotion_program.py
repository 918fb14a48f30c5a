"""The process in which `promotion_order.py` promotes: python -m trimtab.app.delivery.promotion_program.

The order comes on standard input (operations/own_process.py).
"""

from __future__ import annotations

from trimtab.app.delivery.promotion import bundle_to_promote, promote
from trimtab.app.operations.actors import Actor
from trimtab.app.operations.order_program import main
from trimtab.app.project.workspace import Workspace, in_environment
from trimtab.records.record import Role
from trimtab.records.serving import Revision


def promote_named(
    target: Workspace,
    actor: Actor,
    *,
    model: str,
    source: str,
    version: int | None,
    role: Role | None,
    share: float | None,
    reason: str,
    force: bool,
    again: bool,
) -> Revision:
    """Promote a version, or the champion, of an environment that is given by name."""
    there = in_environment(target.project, source, target.clock)
    here = in_environment(target.project, target.name, target.clock)  # with the keys of the policy that differ here
    bundle = bundle_to_promote(there, model, version)
    return promote(there, here, actor, bundle, reason=reason, role=role, share=share, force=force, again=again)


if __name__ == "__main__":
    main({"promote": promote_named})
