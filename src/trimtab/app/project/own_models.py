"""Opens packaged models of a project; a pickle only when a run of the project made it."""

from __future__ import annotations

from pathlib import Path

from trimtab.app.project.pickle_origins import expect_own
from trimtab.app.project.workspace import Workspace
from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import Spec, read_spec
from trimtab.runtimes.opening import open_scorer


def open_own(workspace: Workspace, folder: Path) -> tuple[Scorer, Spec]:
    """Open the model of a folder in the artifact store. Raises DataError."""
    spec = read_spec(folder)
    expect_own(workspace.metadata, folder, spec)
    return open_scorer(folder, spec, trust=workspace.project.policy.serving.trust), spec
