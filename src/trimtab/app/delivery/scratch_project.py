"""A copy of a project for tests: its own files by links, its policy with other limits, and stores of its own."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from trimtab.app.project.project import POLICY, Project
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.clock import Clock
from trimtab.definitions.sources import FileSource
from trimtab.policy.reader import policy_data

LEFT_OUT = (".trimtab", ".git", POLICY)
BATCH_CHECKS = ("volume", "freshness", "distribution")
"""Checks of a whole batch: of a sample they say nothing."""
FEWEST_EXAMPLES = 20


@contextmanager
def scratch_project(project: Project, clock: Clock | None = None) -> Iterator[Workspace]:
    """Open a copy of a project in a temporary folder, for the time of the context.

    Its stores are empty.
    """
    folder, above = project.folder, _folders_above(project)
    with tempfile.TemporaryDirectory(prefix="trimtab-test-") as name:
        scratch = Path(name).resolve()
        for parent, child in above:
            _link(parent, scratch, but=(child.name,))
            scratch /= child.name
            scratch.mkdir()
        if not above:
            scratch /= folder.name
            scratch.mkdir()
        _link(folder, scratch, but=LEFT_OUT)
        text = (folder / POLICY).read_text(encoding="utf-8")
        policy = yaml.safe_dump(_of_a_test(policy_data(text)), sort_keys=False, allow_unicode=True)
        (scratch / POLICY).write_text(policy, encoding="utf-8")
        workspace = open_workspace(scratch, "local", clock)
        try:
            yield workspace
        finally:
            if "metadata" in vars(workspace):
                workspace.metadata.close()


def _folders_above(project: Project) -> list[tuple[Path, Path]]:
    """Return the folders above the project that paths of its sources lead into, outermost first, each with the one
    below it on the way to the project: `../data/*.csv` leads into one."""
    depth = 0
    for source in project.definitions.sources.values():
        if isinstance(source, FileSource) and not source.is_remote:
            parts = PurePosixPath(source.path).parts
            depth = max(depth, next((n for n, part in enumerate(parts) if part != ".."), len(parts)))
    path = [project.folder, *project.folder.parents[:depth]]
    return [(parent, child) for child, parent in pairwise(path)][::-1]


def _link(folder: Path, into: Path, *, but: Sequence[str]) -> None:
    """Link everything in a folder into another one."""
    for each in folder.iterdir():
        if each.name not in but:
            (into / each.name).symlink_to(each)


def of_one_model(workspace: Workspace, *, history: int) -> Workspace:
    """Return the workspace, with the same open stores, for trainings on the newest `history` microseconds."""
    assert workspace.metadata is not None  # opened before the copy, so that both have one store
    policy = workspace.project.policy
    training = policy.training.model_copy(update={"history": history})
    found = copy.copy(workspace)
    found.project = replace(workspace.project, policy=policy.model_copy(update={"training": training}))
    return found


def _of_a_test(policy: dict[str, Any]) -> dict[str, Any]:
    """Return the policy for few rows on one machine: the embedded stores, small limits, nothing that leaves it."""
    checks = dict(policy.get("checks") or {})
    for name, table in checks.items():
        if isinstance(table, dict):
            checks[name] = {key: value for key, value in table.items() if key not in BATCH_CHECKS}
    training = {
        **(policy.get("training") or {}), "on": "process", "features_from": "offline", "warm_start": "never",
        "min_examples": FEWEST_EXAMPLES,
    }  # fmt: skip
    for key in ("memory", "image", "claim", "address", "history"):
        training.pop(key, None)
    if training.get("search"):
        training["search"] = {**training["search"], "trials": 1}
    features = {key: value for key, value in (policy.get("features") or {}).items() if key != "freshness"}
    serving = {
        key: value
        for key, value in (policy.get("serving") or {}).items()
        if key not in ("host", "port", "grpc_port", "authentication", "tls", "signed_by", "workers", "allowed_hosts")
    }
    changed = {
        "checks": checks,
        "training": training,
        "features": features,
        "gates": {**(policy.get("gates") or {}), "performance": None},
        "serving": serving,
        "environments": {"local": {}},
    }
    kept = {
        key: value for key, value in policy.items() if key not in ("alerts", "console", "deploy", "tables", "triggers")
    }
    return {**kept, **changed}
