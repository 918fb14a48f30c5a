"""Versions of prompts: as the project has them now, and as bundles hold them."""

from __future__ import annotations

from trimtab.app.project.workspace import Workspace
from trimtab.bundle.prompt_spec import PromptSpec, read_prompt
from trimtab.llm.prompt_assembly import assemble
from trimtab.records.training import Bundle


def current_spec(workspace: Workspace, prompt: str | None = None) -> PromptSpec:
    """Return the version of a prompt that the project describes now. None: of its only prompt.

    Raises DefinitionError.
    """
    project = workspace.project
    return assemble(project.definitions.prompt(prompt), project.definitions, project.folder)


def load_prompt(workspace: Workspace, bundle: Bundle) -> PromptSpec:
    """Return the version of a prompt that a bundle holds. Raises DataError, NotFound."""
    return read_prompt(workspace.artifacts.open(bundle.path))
