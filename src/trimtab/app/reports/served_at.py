"""What served of a model at a moment, from its revisions."""

from __future__ import annotations

from datetime import datetime

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.errors import NotFound
from trimtab.records.record import Role
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import newest_where


class ServedBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle in a role, with its share of the traffic in percent. digest: empty where its record is missing."""

    role: Role
    bundle: str
    version: int
    weight: float
    kept: bool
    digest: str


class ServedAt(msgspec.Struct, frozen=True, kw_only=True):
    """What served at a moment. revision: the newest that was written by then; None: there was none."""

    environment: str
    model: str
    at: datetime
    revision: Revision | None
    serves: tuple[ServedBundle, ...]


def served_at(workspace: Workspace, model: str, at: datetime) -> ServedAt:
    """Return what was to serve at a time of the wall clock: a gateway takes a revision up once it has loaded it."""
    found = newest_where(workspace.metadata, Revision, lambda each: each.created_at <= at, model=model)
    return ServedAt(
        environment=workspace.name,
        model=model,
        at=at,
        revision=found,
        serves=tuple(
            ServedBundle(
                role=each.role,
                bundle=each.bundle,
                version=each.version,
                weight=each.weight,
                kept=each.kept,
                digest=_digest(workspace, each.bundle),
            )
            for each in (found.assignments if found else ())
        ),
    )


def _digest(workspace: Workspace, bundle: str) -> str:
    try:
        return workspace.metadata.get(Bundle, bundle).digest
    except NotFound:
        return ""
