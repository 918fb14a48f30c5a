"""Checks that a pickle in a bundle is the one that a run of this project made, from the code that the bundle holds."""

from __future__ import annotations

import hashlib
from pathlib import Path

from trimtab.bundle.scorer import PROJECT, inside
from trimtab.bundle.spec import Spec
from trimtab.errors import DataError
from trimtab.records.training import Run

CODE = "code"
"""Folder of a bundle with the Python files of the project that trained it."""


def code_hash(folder: Path) -> str:
    """Return the SHA-256 over the Python files of a folder, by name; those of its own folders do not count."""
    digest = hashlib.sha256()
    for path in code_files(folder):
        digest.update(f"{path.name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def code_files(folder: Path) -> list[Path]:
    """Return the Python files of a folder, sorted by name."""
    return sorted(path for path in folder.glob("*.py") if path.is_file())


def check_origin(folder: Path, spec: Spec, run: Run | None) -> None:
    """Check a packaged model that is a pickle; all others pass.

    run: the record of the run that the spec names; None when this project has none. Raises DataError when the pickle
    or the code differs from what the run recorded.
    """
    if spec.runtime != PROJECT:
        return
    problem = ""
    if run is None:
        problem = f"no run of this project has the id '{spec.run}'"
    elif hashlib.sha256(inside(folder, spec.model_file).read_bytes()).hexdigest() != run.model_hash:
        problem = f"{spec.model_file} is not the file that run {run.id} made"
    elif code_hash(folder / CODE) != run.code_hash:
        problem = f"the files in {CODE}/ are not those that run {run.id} was trained with ({run.code_version})"
    if problem:
        raise DataError(f"{folder}: the pickled model is not run, since serving.trust names the project: {problem}")
