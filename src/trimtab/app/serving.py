"""Opens the gateway of a project: hands stores, policy and feature lookups to the serving wing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from trimtab.app.files import is_running
from trimtab.app.project import load_definitions
from trimtab.app.workspace import Workspace
from trimtab.bundle import Spec
from trimtab.features import OnlinePlan
from trimtab.serving import ANNOUNCEMENT, Announcement, GatewayConfig, Vectorizer


def running_gateway(run_folder: Path) -> Announcement | None:
    """Return the announcement of the gateway that runs for a project, or None."""
    try:
        found = msgspec.json.decode((run_folder / ANNOUNCEMENT).read_bytes(), type=Announcement)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if is_running(found.pid) else None


def gateway_config(workspace: Workspace, *, host: str | None = None, port: int | None = None) -> GatewayConfig:
    """Return the gateway's configuration for a project."""
    policy = workspace.project.policy
    return GatewayConfig(
        metadata=workspace.metadata,
        artifacts=workspace.artifacts,
        predictions=workspace.predictions,
        vectorizer_factory=vectorizers(workspace),
        rollout=policy.rollout,
        host=host or policy.serving.host,
        port=policy.serving.port if port is None else port,
        run_folder=workspace.run_folder,
        clock=workspace.clock,
    )


def vectorizers(workspace: Workspace) -> Callable[[Path, Spec], Vectorizer]:
    """Return a factory that computes features as the bundle's own code defines them."""

    def make(folder: Path, spec: Spec) -> Vectorizer:
        definitions = load_definitions(folder / "code")
        return OnlinePlan(definitions.model(spec.model), workspace.online)

    return make


def url_of(gateway: Announcement) -> str:
    """Return the base URL of a gateway."""
    return f"http://{gateway.host}:{gateway.port}"
