"""Opens packaged models of a project; a pickle only when a run of the project made it."""

from __future__ import annotations

from pathlib import Path

from trimtab.app.project.workspace import Workspace
from trimtab.bundle.origin import check_origin
from trimtab.bundle.scorer import PROJECT, Scorer
from trimtab.bundle.spec import Spec, read_spec
from trimtab.errors import NotFound
from trimtab.records.training import Run
from trimtab.runtimes.opening import open_scorer
from trimtab.stores.metadata.contract import Metadata


def open_own(workspace: Workspace, folder: Path) -> tuple[Scorer, Spec]:
    """Open the model of a folder in the artifact store. Raises DataError."""
    spec = read_spec(folder)
    expect_own(workspace.metadata, folder, spec)
    return open_scorer(folder, spec, trust=workspace.project.policy.serving.trust), spec


def expect_own(metadata: Metadata, folder: Path, spec: Spec) -> None:
    """Raise DataError for a pickle that no run of the project made."""
    if spec.runtime == PROJECT:
        try:
            run = metadata.get(Run, spec.run)
        except NotFound:
            run = None
        check_origin(folder, spec, run)
