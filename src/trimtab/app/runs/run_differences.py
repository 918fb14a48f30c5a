"""What differs between runs, read from records and kept files alone; no data library is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.app.project.workspace import Workspace
from trimtab.app.runs.pinned_environment import versions_of
from trimtab.records.training import DatasetVersion, Run

DATA = ("start", "as_of", "split_at", "rows", "labelled", "holdout_rows", "label_mean", "without")
"""Fields of a training set that are compared, in addition to its tables and features."""


def differing(values: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Return by name the values of all mappings, where they are not the same; None: a mapping lacks the name."""
    names = dict.fromkeys(name for one in values for name in one)
    found = {name: tuple(one.get(name) for one in values) for name in names}
    return {name: each for name, each in found.items() if any(value != each[0] for value in each)}


def data_fields(version: DatasetVersion) -> dict[str, Any]:
    """Return the fields of a training set that are compared."""
    return {name: getattr(version, name) for name in DATA}


def environment(workspace: Workspace, run: Run, needed: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python and of the packages that either run needed."""
    listed = versions_of(
        (workspace.artifacts.open(run.staging) / "environment.txt").read_text(encoding="utf-8").split()
    )
    about = {"Python": run.python, "platform": run.platform}
    wanted = versions_of(needed) or listed
    return {
        **{name: value for name, value in about.items() if value},
        **{name: version for name, version in listed.items() if name in wanted},
    }
