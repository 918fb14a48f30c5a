"""References that the first windows of a version of a prompt have made, beside its bundle.

Reading them loads no data library: pages do.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.llm.topics import TurnTopics
from trimtab.monitoring.reference import WINDOWS_FILE, Reference

CATEGORIES = "categories.json"
"""Names of the codes of the reference, by feature."""


def kept_reference(workspace: Workspace, prompt: str, version: int) -> Reference | None:
    """Return the reference of a version that was made of its own first windows; None as long as there is none."""
    name = name_of(workspace, prompt, version)
    if not workspace.artifacts.exists(name):
        return None
    folder = workspace.artifacts.open(name)
    names = msgspec.json.decode((folder / CATEGORIES).read_bytes(), type=dict[str, tuple[str, ...]])
    found = Reference.from_json((folder / WINDOWS_FILE).read_bytes())
    return replace(found, topics=TurnTopics.read(folder), category_names=names)


def name_of(workspace: Workspace, prompt: str, version: int) -> str:
    """Return the name of the reference in the artifact store."""
    return f"references/{workspace.name}/{prompt}/{version}"
