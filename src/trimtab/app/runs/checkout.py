"""Brings back the code that a run was trained with: its git revision, its uncommitted changes, its policy."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trimtab.app.project.ledger_checks import note_policy
from trimtab.app.project.project import POLICY
from trimtab.app.project.workspace import Workspace
from trimtab.bundle.origin import code_files
from trimtab.errors import StageError
from trimtab.records.control import PolicyVersion
from trimtab.records.training import Run
from trimtab.stores.metadata.contract import newest_where
from trimtab.training.environment import DIRTY, UNVERSIONED, git_output
from trimtab.training.package import CHANGES


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """The code of a run, in a folder of its own."""

    folder: Path
    """The project's."""
    told: str
    """Where it comes from, in words."""


@contextmanager
def checkout(workspace: Workspace, run: Run, cache: Path) -> Iterator[Checkout]:
    """Make a folder with the project as it was for a run; it is removed after the block.

    Raises StageError, which says what is missing: the revision, the uncommitted changes.
    """
    kept = workspace.artifacts.open(run.staging) / "code"
    revision = run.code_version.removesuffix(DIRTY)
    root = cache.expanduser() / "checkouts"
    root.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f"{run.id[:8]}-", dir=root))
    try:
        if revision == UNVERSIONED:
            folder, told = place, "the project's own files as they were kept (it was not under version control)"
        else:
            folder, told = _of_revision(workspace, run, revision, kept, place)
        changed = _overlay(kept, folder)
        if changed and revision != UNVERSIONED:
            told += f"; from the packaged model: {', '.join(changed)}"
        (folder / POLICY).write_text(policy_of(workspace, run), encoding="utf-8")
        yield Checkout(folder=folder, told=told)
    finally:
        if revision != UNVERSIONED:
            git_output(workspace.project.folder, "worktree", "remove", "--force", str(place))
        shutil.rmtree(place, ignore_errors=True)


def policy_of(workspace: Workspace, run: Run) -> str:
    """Return the text of the policy when a run was trained; the present one where none was written before it."""
    found = newest_where(workspace.metadata, PolicyVersion, lambda version: version.created_at <= run.created_at)
    return found.text if found else note_policy(workspace).text


def _of_revision(workspace: Workspace, run: Run, revision: str, kept: Path, place: Path) -> tuple[Path, str]:
    project = workspace.project.folder
    inside = git_output(project, "rev-parse", "--show-prefix")
    if inside is None or git_output(project, "cat-file", "-e", f"{revision}^{{commit}}") is None:
        raise StageError(
            f"the code of run {run.id} is the git revision {revision}, which {project} does not have; fetch it from "
            "where the run was trained"
        )
    if git_output(project, "worktree", "add", "--quiet", "--detach", str(place), revision) is None:
        raise StageError(f"git cannot check revision {revision} out of {project}; see: git worktree add")
    folder = place / inside
    if not folder.is_dir():
        raise StageError(f"revision {revision} of run {run.id} has no folder '{inside}', where the project is now")
    told = f"revision {revision[:12]}"
    if not run.code_version.endswith(DIRTY):
        return folder, told
    patch = kept / CHANGES
    if run.changes == "too large" or (not run.pins and not patch.exists()):
        raise StageError(
            f"run {run.id} was trained with uncommitted changes of revision {revision[:12]} that were not kept"
            f"{' since they are too large' if run.pins else ''}, so its code cannot be brought back. Commit before you "
            "train"
        )
    if not patch.exists():
        return folder, f"{told}; nothing that is code was changed in addition"
    # git apply takes paths from the top of the repository
    options = [f"--directory={inside}"] if inside else []
    if git_output(place, "apply", "--whitespace=nowarn", *options, str(patch)) is None:
        raise StageError(f"the uncommitted changes of run {run.id} do not fit revision {revision[:12]}: {patch}")
    return folder, f"{told} with its uncommitted changes"


def _overlay(kept: Path, folder: Path) -> list[str]:
    """Write the kept top-level files where the folder has others, and remove those it should not have.

    Return the names of what was written, such as files that git ignores.
    """
    wanted = {path.name: path.read_bytes() for path in code_files(kept)}
    there = {path.name: path.read_bytes() for path in code_files(folder)}
    for name in there.keys() - wanted.keys():
        (folder / name).unlink()
    changed = sorted(name for name, content in wanted.items() if there.get(name) != content)
    for name in changed:
        (folder / name).write_bytes(wanted[name])
    return changed
