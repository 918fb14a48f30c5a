"""What a version of a prompt is: its messages, what they are sent to, and what changed against the champion before."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from trimtab.app.llm.prompt_listing import diff_prompts, find_version
from trimtab.app.project.workspace import Workspace
from trimtab.bundle.prompt_spec import MessageTemplate, PromptSpec, TargetSpec, VariableSpec
from trimtab.errors import NotFound, UsageError
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """A variable of the messages. said: what is known of it, in words; default: "" where a request must bring it."""

    name: str
    said: str


class PromptText(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a prompt. JSON of schema and tools is indented; empty texts: the version has none."""

    messages: tuple[MessageTemplate, ...]
    endpoint: str
    model: str
    fallbacks: tuple[str, ...]
    """Endpoint and model of each."""
    params: dict[str, str]
    variables: tuple[Variable, ...]
    schema: str
    tools: tuple[str, ...]
    examples: int
    """Pairs of messages that are shown to the model."""
    retriever: str
    tune: tuple[str, ...]
    """What a search may change."""
    against: int | None
    """The champion before; None where none served before."""
    changed: tuple[str, ...]
    """Fields that are not the same as in `against`."""
    diff: str
    """A unified diff of both as Markdown."""


def prompt_text(workspace: Workspace, bundle: Bundle) -> PromptText:
    """Return the text of a version of a prompt. Raises DataError and NotFound where its bundle cannot be read."""
    own = find_version(workspace, f"{bundle.model}@{bundle.version}")
    against = _champion_before(workspace, bundle)
    diff = None
    if against is not None:
        with suppress(NotFound, UsageError):
            diff = diff_prompts(find_version(workspace, f"{bundle.model}@{against}"), own)
    spec: PromptSpec = own.spec
    return PromptText(
        messages=spec.messages,
        endpoint=spec.target.endpoint.name,
        model=spec.target.model,
        fallbacks=tuple(_target(each) for each in spec.fallbacks),
        params={name: str(value) for name, value in spec.params.items()},
        variables=tuple(Variable(name=name, said=_said(each)) for name, each in spec.variables.items()),
        schema="" if spec.schema is None else _json(spec.schema),
        tools=tuple(_json(each) for each in spec.tools),
        examples=len(spec.examples),
        retriever="" if spec.retriever is None else spec.retriever.name,
        tune=spec.tune,
        against=None if diff is None else against,
        changed=() if diff is None else diff.fields,
        diff="" if diff is None else diff.text,
    )


def _champion_before(workspace: Workspace, bundle: Bundle) -> int | None:
    """Return the version that was champion when this one came to serve, now for one that never served."""
    champion: int | None = None
    for revision in workspace.metadata.find(Revision, model=bundle.model, oldest_first=True):
        roles = {each.role: each.version for each in revision.assignments if not each.kept}
        serves = bundle.version in roles.values()
        if not serves or roles.get("champion") != bundle.version:
            champion = roles.get("champion", champion)
        if serves:
            break
    return None if champion == bundle.version else champion


def _target(target: TargetSpec) -> str:
    return f"{target.endpoint.name}/{target.model}"


def _said(variable: VariableSpec) -> str:
    parts = ["trusted" if variable.trusted else "not trusted"]
    parts.append("a request must bring it" if variable.default is None else f"{variable.default!r} by default")
    if variable.max_chars is not None:
        parts.append(f"at most {variable.max_chars:,} characters")
    return ", ".join(parts)


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
