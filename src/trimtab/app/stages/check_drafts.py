"""Writes first drafts of the checks of tables into the project folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from trimtab.app.project.kept_tables import version_as_of
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.ingesting import chosen_sources
from trimtab.data.drafts import as_python, as_yaml, draft_columns, schema_name
from trimtab.errors import UsageError
from trimtab.units import plural

MOST_ROWS = 1_000_000
"""The last rows of a table, from which its draft is made."""


def write_drafts(
    workspace: Workspace, source: str | None, form: Literal["yaml", "python"]
) -> dict[str, tuple[Path, str]]:
    """Write a draft for one table, or for each that has rows; return the file and the value for the policy, by table.

    Raises UsageError when a file exists already, NotFound for a table without rows.
    """
    files = {}
    for one in chosen_sources(workspace, source):
        if source is not None or workspace.tables.version(one.name) is not None:
            name = f"checks/{one.name}.yaml" if form == "yaml" else f"{one.name}_checks.py"
            path = workspace.project.folder / name
            if path.exists():
                raise UsageError(f"{path} exists, and a draft overwrites nothing: move it away, or edit it")
            files[one] = path
    written = {}
    for one, path in files.items():
        version = version_as_of(workspace, one.name, None)
        rows = workspace.tables.scan(one.name, version=version.version).tail(MOST_ROWS).collect()
        columns = draft_columns(rows, one, keys=workspace.project.definitions.key_columns(one))
        title = f"Draft of checks for '{one.name}', from {plural(rows.height, 'row')} of {version.id}."
        if one.key:
            title += f" Of rows that repeat its key ({', '.join(one.key)}): duplicates: key, in trimtab.yaml."
        name = schema_name(one.name)
        text = as_yaml(columns, title=title) if form == "yaml" else as_python(columns, title=title, name=name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written[one.name] = path, f"checks/{path.name}" if form == "yaml" else f"{path.stem}.{name}"
    return written
