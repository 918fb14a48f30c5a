"""Gives the supervisor of a project's gateway its orders: revisions, tokens, and what the guard decides."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

from trimtab.app.gateway.guard import Guard
from trimtab.app.gateway.tokens import grants
from trimtab.app.gateway.turns import read_turn
from trimtab.app.project.pickle_origins import expect_own
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.in_service import stale_views
from trimtab.bundle.signature import check_signature
from trimtab.bundle.spec import read_spec
from trimtab.clock import from_micros
from trimtab.errors import TrimtabError
from trimtab.metric_catalog import CHAT
from trimtab.records.serving import LogGap
from trimtab.serving.orders import Gap, Grant, ModelOrder
from trimtab.serving.processes.revision_follower import BundleKind, Revisions

logger = logging.getLogger(__name__)


class ProjectControl:
    """Reads the metadata store of a project, and writes what the gateway noticed.

    kind: what the gateway serves. run_folder: the gateway's; None: that of the project.
    """

    def __init__(self, workspace: Workspace, kind: BundleKind = "model", run_folder: Path | None = None) -> None:
        policy = workspace.project.policy
        self._workspace = workspace
        self._key = policy.serving.signed_by and workspace.project.folder / policy.serving.signed_by
        self._with_tokens = policy.serving.authentication == "tokens"
        self._revisions = Revisions(
            workspace.metadata,
            workspace.artifacts,
            workspace.clock,
            sticky=policy.rollout.sticky,
            keep_warm=timedelta(microseconds=policy.rollout.keep_warm),
            inspect=self._inspect,
            kind=kind,
        )
        limits = policy.for_task(CHAT).rollout.rollback_when if kind == "prompt" else None
        self._guard = Guard(workspace, run_folder, limits)
        self._grants: tuple[Grant, ...] | None = None

    def orders(self) -> tuple[ModelOrder, ...] | None:
        """Return what should serve, when it has changed."""
        orders = self._revisions.poll()
        for model in {order.model for order in orders or ()} & set(self._workspace.project.definitions.models):
            self._tell_stale(model)
        return orders

    def _tell_stale(self, model: str) -> None:
        """Log which views in service lag behind their tables; nothing here reads a table, or refreshes."""
        try:
            for problem in stale_views(self._workspace, model):
                logger.warning("%s; run: trimtab features, or let trimtab up run", problem)
        except TrimtabError as error:
            logger.warning("the features of model '%s' could not be looked at: %s", model, error)

    def grants(self) -> tuple[Grant, ...] | None:
        """Return the valid tokens, when they have changed."""
        if not self._with_tokens:
            return None
        found = tuple(grants(self._workspace.metadata, self._workspace.clock))
        if found == self._grants:
            return None
        self._grants = found
        return found

    def guard(self) -> None:
        """Check what the workers counted: roll back, or let a canary take its next step.

        The guard goes by wall time and latency. So during a replay it decides only with `--measured`, or for a canary,
        which would not move without it.
        """
        turn = read_turn(self._workspace.run_folder)
        if turn is None or turn.measured or self._workspace.project.policy.rollout.strategy == "canary":
            self._guard.step(self._revisions.history)

    def _inspect(self, folder: Path) -> None:
        """Raise DataError for a bundle with a wrong signature, or with a pickle that no run of the project made."""
        if self._key:
            check_signature(folder, self._key)
        expect_own(self._workspace.metadata, folder, read_spec(folder))

    def gap(self, worker: str, gap: Gap) -> None:
        """Record that answers could not be logged."""
        self._workspace.metadata.put(
            LogGap(
                id=f"gap/{worker}/{gap.start}",
                created_at=self._workspace.now(),
                worker=worker,
                rows=gap.rows,
                start=from_micros(gap.start),
                end=from_micros(gap.end),
                reason=gap.reason,
            )
        )
