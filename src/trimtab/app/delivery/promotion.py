"""Promotes a bundle from one environment into another: copies it, and writes the Revision by which it serves there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import msgspec

from trimtab.app.delivery.bundle_copy import copy_bundle, copy_files
from trimtab.app.delivery.promotable import expect_promotable
from trimtab.app.operations.actors import Actor
from trimtab.app.operations.deploying import deploy
from trimtab.app.operations.freezing import refuse_frozen
from trimtab.app.operations.promotion_requests import may_approve, request_promotion, told
from trimtab.app.project.locks import locked
from trimtab.app.project.project import POLICY
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import first_command, open_rollouts
from trimtab.app.stages.freshness import bring_up_to_date
from trimtab.definitions.views import FeatureView
from trimtab.errors import ActionError, ApprovalNeeded, NotFound, StageError, TrimtabError, UsageError
from trimtab.features.view_versions import view_of
from trimtab.records.data import TableVersion
from trimtab.records.features import FeatureViewVersion
from trimtab.records.record import Origin, Role
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import latest

ROLES: tuple[Role, ...] = get_args(Role)


def promote(
    source: Workspace,
    target: Workspace,
    actor: Actor,
    bundle: Bundle,
    *,
    reason: str,
    role: Role | None = None,
    share: float | None = None,
    force: bool = False,
    again: bool = False,
) -> Revision:
    """Bring a bundle of the source into service in the target.

    The target must have rows for the bundle's views before people are asked. Nothing is copied before it is approved
    and the values of its feature views in the target are up to date. A second call with the same arguments goes on
    where a killed one has stopped, and changes nothing once the bundle serves.

    Args:
        source: the environment that has the bundle.
        target: the environment that is to serve it; another one.
        actor: who asks.
        bundle: record of the bundle in the source.
        reason: why, for the record.
        role: what it becomes; None as the policy's strategy says.
        share: of the traffic of a challenger; None as the policy says.
        force: also while the model is frozen.
        again: ask anew for an approval that was rejected.

    Raises:
        Forbidden: the role of the actor is below approver, or below developer where people approve.
        UsageError: both share stores that must be apart, or the target takes bundles of another environment.
        ApprovalNeeded: people have to approve it first; the request is recorded.
        ActionError: the bundle did not pass its gates, has not served for long enough, failed the smoke test or is
            damaged; the request was rejected; the model is frozen.
        StageError: the values of a view cannot be brought up to date in the target, such as for lack of rows.
    """
    rules = target.environment
    actor.require("developer" if rules.approvals else "approver", bundle.model)
    refuse_shared(source, target)
    if rules.from_ not in (None, source.name):
        raise UsageError(
            f"environments.{target.name}.from: {target.name} takes bundles of {rules.from_}, not of {source.name}"
        )
    if (now := _serves(target, bundle, role)) is not None:
        copy_files(source, target, bundle)  # where they were lost
        return now
    expect_promotable(source, target, bundle)
    refuse_frozen(target, bundle.model, force=force)
    views = views_to_bring(source, target, bundle)
    origin = Origin(environment=source.name, bundle=bundle.id, digest=bundle.digest)
    if rules.approvals:
        origin = _approved(target, actor, bundle.model, origin, role, share, reason=reason, again=again)
    why = f"a second promotion of model '{bundle.model}' would take the same version"
    with locked(target, f"promotion-{bundle.model}", "trimtab promote", why=why):
        bring_views(target, bundle, views)
        copied = copy_bundle(source, target, bundle)
        if (now := _serves(target, bundle, role)) is not None:
            return now
        may = actor if actor.may("approver") or not origin.request else msgspec.structs.replace(actor, role="approver")
        return deploy(
            target, may, copied,
            reason=reason, role=role, share=share, force=force, origin=origin, key=origin.request or None,
        )  # fmt: skip


def _serves(target: Workspace, bundle: Bundle, role: Role | None) -> Revision | None:
    """Return the present revision if the bundle serves by it in a role, or for None in any."""
    copied = latest(target.metadata, Bundle, model=bundle.model, digest=bundle.digest)
    now = open_rollouts(target, bundle.model).current()
    if copied is None or now is None:
        return None
    return now if any(now.bundle_in(each) == copied.id for each in ([role] if role else ROLES)) else None


def _approved(
    target: Workspace, actor: Actor, model: str, origin: Origin, role: Role | None, share: float | None,
    *, reason: str, again: bool,
) -> Origin:  # fmt: skip
    """Return the origin with its approvals. Raises ApprovalNeeded, or ActionError for a rejected request.

    One that was carried out is asked for anew: its bundle was replaced or rolled back since.
    """
    found = request_promotion(target, actor, model, origin, role, share, reason=reason, again=again)
    if found.state == "done":
        found = request_promotion(target, actor, model, origin, role, share, reason=reason, again=True)
    if found.state == "rejected":
        raise ActionError(f"{found.request.id} was {told(found)}. To ask once more: --again")
    if found.state != "approved":
        raise ApprovalNeeded(
            f"{found.request.id} ({origin.bundle} of {origin.environment}, {origin.digest[:12]}...) has {told(found)}. "
            f"Who may approve: {may_approve(found)}. How: trimtab promotions approve {found.request.id} --env "
            f"{target.name} --reason '...', or the console of {target.name}. Then run this command again"
        )
    return msgspec.structs.replace(origin, approvals=found.approved_by, request=found.request.id)


def bundle_to_promote(source: Workspace, model: str, version: int | None) -> Bundle:
    """Return the bundle of a version, or of the champion of the source. Raises ActionError and UsageError."""
    if version is not None:
        try:
            return source.metadata.get(Bundle, f"{model}/{version}")
        except NotFound as error:
            raise UsageError(f"environment {source.name}: {error}") from None
    serving = open_rollouts(source, model).current()
    champion = None if serving is None else serving.bundle_in("champion")
    if champion is None:
        raise ActionError(
            f"nothing serves for model '{model}' in {source.name}, so nothing can be promoted from there; run: "
            f"{first_command(source)}, or name a version: --version"
        )
    return source.metadata.get(Bundle, champion)


def refuse_shared(source: Workspace, target: Workspace) -> None:
    """Raise UsageError unless records and prediction logs of two environments are apart."""
    for kind in ("metadata", "predictions"):
        one, other = (getattr(each.environment, kind) or str(each.root) for each in (source, target))
        if one == other:
            raise UsageError(
                f"{target.project.folder / POLICY}: a bundle is promoted into an environment with stores of its own; "
                f"here both have the same {kind}. Left out, each environment has its own, in its folder"
            )


def views_to_bring(source: Workspace, target: Workspace, bundle: Bundle) -> list[FeatureView]:
    """Return the views of a bundle. Raises StageError where the target has no rows for one; it says what to run."""
    views = [view_of(source.metadata.get(FeatureViewVersion, id_)) for id_ in bundle.views]
    for view in views:
        what = _needs(target, bundle, view)
        if view.source.name not in target.project.definitions.sources:
            raise StageError(f"{what} cannot be computed: definitions.py has no source '{view.source.name}' any more")
        if latest(target.metadata, TableVersion, table=view.source.name) is None:
            raise StageError(
                f"{what} are absent: table '{view.source.name}' is empty there. Run: trimtab ingest --env {target.name}"
            )
    return views


def bring_views(target: Workspace, bundle: Bundle, views: Sequence[FeatureView]) -> None:
    """Bring the values of a bundle's views up to date in the target. Raises StageError, which says what to run."""
    for view in views:
        try:
            bring_up_to_date(target, view)
        except TrimtabError as error:
            raise StageError(
                f"{_needs(target, bundle, view)} are not up to date and cannot be: {error}. See: trimtab doctor --env "
                f"{target.name}"
            ) from error


def _needs(target: Workspace, bundle: Bundle, view: FeatureView) -> str:
    return f"bundle {bundle.id} needs the view {view.version_id} in {target.name}, whose values"
