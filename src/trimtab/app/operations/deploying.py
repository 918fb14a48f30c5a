"""Bundles that a person brings into service, with their features. Loads what computes features."""

from __future__ import annotations

from trimtab.app.operations.actors import Actor
from trimtab.app.operations.rollout_orders import order_change
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.app.stages.freshness import bring_bundle_up_to_date
from trimtab.app.stages.view_changes import refuse_lost_views
from trimtab.records.record import Origin, Role
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import latest


def deploy(
    workspace: Workspace,
    actor: Actor,
    bundle: Bundle,
    *,
    reason: str,
    key: str | None = None,
    seen: int | None = None,
    role: Role | None = None,
    share: float | None = None,
    force: bool = False,
    origin: Origin | None = None,
) -> Revision:
    """Bring a bundle into service, as `Rollouts.deploy`. Arguments and errors as `promote`."""

    def change(rollouts: Rollouts, cause: str) -> Revision:
        if not force:
            refuse_lost_views(workspace, bundle.model)
        bring_bundle_up_to_date(workspace, bundle)
        return rollouts.deploy(bundle, cause=cause, reason=reason, by=actor.name, role=role, share=share, origin=origin)

    asked = " ".join(str(each) for each in (role, share) if each is not None)
    return order_change(
        workspace, actor, bundle.model, f"deploy {bundle.id}", change,
        reason=reason, asked=asked, key=key, seen=seen, force=force,
    )  # fmt: skip


def restore(
    workspace: Workspace,
    actor: Actor,
    model: str,
    to: int,
    *,
    reason: str,
    key: str | None = None,
    seen: int | None = None,
    cut: bool = False,
) -> Revision:
    """Restore the champion of revision `to`; a freeze does not hold it. Arguments and errors as `rollback`."""

    def change(rollouts: Rollouts, cause: str) -> Revision:
        restored = champion_of(workspace, model, to)
        if restored is not None:
            bring_bundle_up_to_date(workspace, restored)
        return rollouts.rollback(cause=cause, reason=reason, by=actor.name, to=to, cut=cut)

    return order_change(
        workspace, actor, model, "rollback", change, reason=reason, asked=f"to {to}", key=key, seen=seen, force=True
    )


def champion_of(workspace: Workspace, model: str, number: int) -> Bundle | None:
    """Return the champion's bundle of a revision, or None without such a revision."""
    revision = latest(workspace.metadata, Revision, model=model, number=number)
    bundle = None if revision is None else revision.bundle_in("champion")
    return None if bundle is None else workspace.metadata.get(Bundle, bundle)
