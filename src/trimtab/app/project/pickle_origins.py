"""Checks a pickle against the run that made it. No runtime is loaded: a supervisor checks before its workers load."""

from __future__ import annotations

from pathlib import Path

from trimtab.bundle.origin import check_origin
from trimtab.bundle.scorer import PROJECT
from trimtab.bundle.spec import Spec
from trimtab.errors import NotFound
from trimtab.records.training import Run
from trimtab.stores.metadata.contract import Metadata


def expect_own(metadata: Metadata, folder: Path, spec: Spec) -> None:
    """Raise DataError for a pickle that no run of the project made."""
    if spec.runtime == PROJECT:
        try:
            run = metadata.get(Run, spec.run)
        except NotFound:
            run = None
        check_origin(folder, spec, run)
