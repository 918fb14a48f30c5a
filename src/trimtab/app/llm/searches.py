"""Whether a search for a better prompt may be started, as a retraining is for a model."""

from __future__ import annotations

from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.bundle.prompt_spec import read_prompt
from trimtab.errors import DataError, NotFound
from trimtab.records.training import Bundle


def no_search(workspace: Workspace, name: str) -> str:
    """Return why no search for a better version of a prompt may be started; empty when one may, and for a model."""
    prompt = workspace.project.definitions.prompts.get(name)
    revision = open_rollouts(workspace, name).current() if prompt is not None else None
    champion = revision.bundle_in("champion") if revision is not None else None
    if prompt is None or champion is None:
        return ""
    try:
        spec = read_prompt(workspace.artifacts.open(workspace.metadata.get(Bundle, champion).path))
    except (DataError, NotFound) as error:
        return f"the champion of prompt '{name}' cannot be read: {error}"
    return "" if spec.tune else f"prompt '{name}' names nothing that a search may change (tune: in {prompt.file})"
