"""What a file or folder of another system holds, brought into a project: models as bundles, settings as a policy draft.

Nothing is dropped without a word: what has no counterpart is listed as left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

from trimtab.app.exchange.foreign_models import ForeignModel, add_bundle, read_foreign
from trimtab.app.exchange.project_draft import draft_project, write_policy
from trimtab.app.project.project import POLICY
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.app.stages import pipeline
from trimtab.bundle.spec import Spec
from trimtab.errors import DataError, UsageError, nearest
from trimtab.records.record import Role


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one thing. outcome: drafted, bundle, revision, policy, known or left out."""

    source: str
    outcome: str
    detail: str


@dataclass
class Found:
    """What another system holds. models: folders with MLflow models, by the names that they get."""

    system: str
    models: dict[str, Path] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    left_out: list[Imported] = field(default_factory=list)

    def leave_out(self, source: str, why: str) -> None:
        """List something that has no counterpart."""
        self.left_out.append(Imported(source=source, outcome="left out", detail=why))

    def set(self, key: str, value: Any) -> None:
        """Set a dotted key of the policy."""
        *path, last = key.split(".")
        section = self.policy
        for name in path:
            section = section.setdefault(name, {})
        section[last] = value


def bring_in(
    folder: Path, environment: str, found: Found, *, names: Sequence[str], trust: Sequence[str], by: str
) -> Iterator[Imported]:
    """Make bundles of the models, and a draft of the policy where there is no project; yield what became of each.

    Raises UsageError for a name that is not among the models, or that no definition has.
    """
    for name in names:
        if name not in found.models:
            raise UsageError(f"{found.system}: it holds no model '{name}'.{nearest(name, found.models)}")
    models = {name: path for name, path in found.models.items() if not names or name in names}
    is_new = not (folder / POLICY).exists()
    if is_new:
        specs: dict[str, Spec] = {}
        for name, path in list(models.items()):
            try:
                specs[name] = read_foreign(path, list(trust))
            except DataError as error:
                found.leave_out(name, str(error))
                del models[name]
        if specs or found.policy:
            yield _drafted(folder, found, specs, trust)
    else:
        for text in yaml.safe_dump(found.policy, sort_keys=False).splitlines() if found.policy else ():
            yield Imported(source=POLICY, outcome="policy", detail=text)
    if models:
        workspace = open_workspace(folder, environment)
        for name, path in models.items():
            yield from _bring(workspace, found, name, path, by)
    yield from found.left_out


def _drafted(folder: Path, found: Found, specs: dict[str, Spec], trust: Sequence[str]) -> Imported:
    project = folder.resolve().name
    if trust:
        found.policy.setdefault("serving", {})["trust"] = list(trust)
    if specs:
        draft_project(folder, project=project, source=found.system, specs=specs, policy=found.policy)
        return Imported(source=found.system, outcome="drafted", detail=f"project {project} in {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    write_policy(folder, project=project, source=found.system, policy=found.policy)
    return Imported(
        source=found.system, outcome="drafted", detail=f"{folder / POLICY}; definitions.py is yours to write"
    )


def _bring(workspace: Workspace, found: Found, name: str, path: Path, by: str) -> Iterator[Imported]:
    version = found.versions.get(name, 1)
    foreign = ForeignModel(model=name, folder=path, system=found.system, id=f"{name}/{version}", version=version)
    bundle, new = add_bundle(workspace, foreign)
    yield Imported(source=name, outcome="bundle" if new else "known", detail=bundle.id)
    now = open_rollouts(workspace, name).current()
    role: Role | None = "champion" if now is None else None
    if now is not None and any(each.bundle == bundle.id for each in now.assignments):
        return
    cause = f"import/{bundle.id}/{0 if now is None else now.number}"
    reason = f"imported from {found.system}"
    revision = pipeline.deploy(workspace, bundle, cause=cause, reason=reason, by=by, role=role)
    yield Imported(
        source=name, outcome="revision", detail=f"{bundle.id}: {revision.action} by revision {revision.number}"
    )
