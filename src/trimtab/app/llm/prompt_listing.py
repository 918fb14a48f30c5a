"""The prompts of a project: listed with their versions, one shown, two compared, and who uses what."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, get_args

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.bundle.prompt_spec import PromptSpec, read_prompt
from trimtab.definitions.llm.prompts import Prompt
from trimtab.errors import NotFound, UsageError, nearest
from trimtab.llm.prompt_assembly import assemble
from trimtab.llm.prompt_markdown import to_markdown
from trimtab.records.record import Role
from trimtab.records.training import Bundle

ROLES: tuple[Role, ...] = get_args(Role)
FILES = "files"
"""How the version is named that the project has now."""
KINDS = ("endpoint", "model", "eval_set", "evaluator", "judge", "retriever")


class ServedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version that serves."""

    role: Role
    version: int
    weight: float
    """Percent of the conversations."""


class PromptRow(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt. same_as: newest version that equals what the files say; None where no version does."""

    name: str
    description: str
    file: str
    endpoint: str
    model: str
    versions: int
    serving: tuple[ServedVersion, ...]
    same_as: int | None
    sets: tuple[str, ...]
    evaluators: tuple[str, ...]
    quality: str


class PromptVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a prompt. name: such as triage@3, or triage@files for the one that the project has now."""

    name: str
    prompt_hash: str
    spec: PromptSpec
    bundle: Bundle | None = None
    roles: tuple[Role, ...] = ()
    file: str = ""
    """The version as Markdown."""


class PromptDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two versions. fields: names of what differs; text: a unified diff of both as Markdown."""

    a: str
    b: str
    fields: tuple[str, ...]
    text: str


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What prompts use. prompts: as the project has them now; versions: of bundles that serve, with their role."""

    kind: str
    name: str
    prompts: tuple[str, ...]
    versions: tuple[str, ...]


def list_prompts(workspace: Workspace) -> list[PromptRow]:
    """Return all prompts of the project, by name."""
    found = []
    for name, prompt in sorted(workspace.project.definitions.prompts.items()):
        now = _now(workspace, prompt)
        serving = _serving(workspace, name)
        bundles = workspace.metadata.find(Bundle, model=name)
        found.append(
            PromptRow(
                name=name,
                description=now.description,
                file=prompt.file,
                endpoint=now.target.endpoint.name,
                model=now.target.model,
                versions=len(bundles),
                serving=tuple(
                    ServedVersion(role=role, version=bundle.version, weight=weight) for role, bundle, weight in serving
                ),
                same_as=max((each.version for each in bundles if each.prompt_hash == now.prompt_hash), default=None),
                sets=tuple(each.set.name for each in prompt.evals),
                evaluators=prompt.evaluator_names,
                quality=prompt.quality or next(iter(prompt.evaluator_names), ""),
            )
        )
    return found


def find_version(workspace: Workspace, name: str) -> PromptVersion:
    """Return a version of a prompt.

    Args:
        workspace: of the project.
        name: NAME for what the project has now, NAME@3 or NAME/3 for a registered version, NAME@champion for the one
            in a role.

    Raises:
        UsageError: the project has no such prompt.
        NotFound: it has no such version.
    """
    prompt, _, wanted = name.replace("/", "@", 1).partition("@")
    prompts = workspace.project.definitions.prompts
    if prompt not in prompts:
        raise UsageError(f"the project has no prompt '{prompt}'.{nearest(prompt, prompts)}")
    serving = _serving(workspace, prompt)
    if wanted in ("", FILES):
        spec = _now(workspace, prompts[prompt])
        return _version(f"{prompt}@{FILES}", spec, None, ())
    bundles = {str(bundle.version): bundle for bundle in workspace.metadata.find(Bundle, model=prompt)}
    if wanted in ROLES:
        wanted = next((str(bundle.version) for role, bundle, _ in serving if role == wanted), wanted)
    bundle = bundles.get(wanted.removeprefix("v"))
    if bundle is None:
        known = [*bundles, *(role for role, _, _ in serving), FILES]
        raise NotFound(f"prompt '{prompt}' has no version '{wanted}'.{nearest(wanted, known)}")
    spec = read_prompt(workspace.artifacts.open(bundle.path))
    roles = tuple(role for role, each, _ in serving if each.id == bundle.id)
    return _version(f"{prompt}@{bundle.version}", spec, bundle, roles)


def diff_prompts(a: PromptVersion, b: PromptVersion) -> PromptDiff:
    """Compare two versions."""
    fields = [
        name
        for name in PromptSpec.__struct_fields__
        if name not in ("format", "name") and getattr(a.spec, name) != getattr(b.spec, name)
    ]
    lines = difflib.unified_diff(a.file.splitlines(), b.file.splitlines(), a.name, b.name, lineterm="")
    return PromptDiff(a=a.name, b=b.name, fields=tuple(fields), text="\n".join(lines))


def used_by(workspace: Workspace, name: str | None = None) -> list[Use]:
    """Return what the prompts of the project and the versions in service use.

    Args:
        workspace: of the project.
        name: only what has this name, or what a prompt of this name uses; None: all.

    Raises:
        UsageError: nothing has this name.
    """
    uses: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    definitions = workspace.project.definitions
    for name_, prompt in sorted(definitions.prompts.items()):
        for kind, used in _parts(_now(workspace, prompt)):
            uses.setdefault((kind, used), ([], []))[0].append(name_)
        for run in prompt.evals:
            uses.setdefault(("eval_set", run.set.name), ([], []))[0].append(name_)
            for each in run.evaluators:
                kind = "judge" if each.name in definitions.judges else "evaluator"
                uses.setdefault((kind, each.name), ([], []))[0].append(name_)
        for role, bundle, _ in _serving(workspace, name_):
            for part in _parts(read_prompt(workspace.artifacts.open(bundle.path))):
                uses.setdefault(part, ([], []))[1].append(f"{bundle.id} ({role})")
    for endpoint in definitions.endpoints:
        uses.setdefault(("endpoint", endpoint), ([], []))
    for judge in definitions.judges.values():
        uses.setdefault(("endpoint", judge.endpoint.name), ([], []))[0].append(f"judge {judge.name}")
    found = [
        Use(kind=kind, name=used, prompts=tuple(dict.fromkeys(prompts)), versions=tuple(dict.fromkeys(versions)))
        for (kind, used), (prompts, versions) in sorted(uses.items(), key=lambda each: _order(*each[0]))
    ]
    if name is None:
        return found
    chosen = [use for use in found if name in (use.name, *use.prompts)]
    if not chosen:
        known = [*definitions.prompts, *(use.name for use in found)]
        raise UsageError(
            f"no prompt, endpoint, set, evaluator, judge or retriever is named '{name}'.{nearest(name, known)}"
        )
    return chosen


def _order(kind: str, name: str) -> tuple[int, str]:
    return KINDS.index(kind), name


def _parts(spec: PromptSpec) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for target in (spec.target, *spec.fallbacks):
        found += [("endpoint", target.endpoint.name), ("model", f"{target.endpoint.name}/{target.model}")]
    return found if spec.retriever is None else [*found, ("retriever", spec.retriever.name)]


def _now(workspace: Workspace, prompt: Prompt) -> PromptSpec:
    return assemble(prompt, workspace.project.definitions, workspace.project.folder)


def _serving(workspace: Workspace, prompt: str) -> Sequence[tuple[Role, Bundle, float]]:
    now = open_rollouts(workspace, prompt).current()
    if now is None:
        return ()
    return tuple(
        (each.role, workspace.metadata.get(Bundle, each.bundle), each.weight)
        for each in now.assignments
        if not each.kept
    )


def _version(name: str, spec: PromptSpec, bundle: Bundle | None, roles: tuple[Any, ...]) -> PromptVersion:
    return PromptVersion(
        name=name, prompt_hash=spec.prompt_hash, spec=spec, bundle=bundle, roles=roles, file=to_markdown(spec)
    )
