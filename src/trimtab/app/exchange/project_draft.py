"""Drafts a project folder for models of another system: definitions.py and trimtab.yaml, from their signatures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from trimtab.app.project.definitions_file import DEFINITIONS
from trimtab.app.project.project import POLICY
from trimtab.bundle.spec import Spec
from trimtab.errors import UsageError

NO_NAME = re.compile(r"\W+|__+", re.ASCII)
HEAD = '''"""Drafted by trimtab import from {source}.

The models serve as they are. To retrain one, let its source name real rows with the label, and give it a trainer:

    @{first}.trainer
    def train(data, params, seed):
        ...
"""

import trimtab as tt
'''
SOURCE = '\n{name}_rows = tt.FileSource("{name}_rows", "data/{name}_rows.parquet", timestamp="{timestamp}")\n'


def model_name(text: str) -> str:
    """Return a name as definitions have it: letters, digits and single underscores."""
    name = NO_NAME.sub("_", text).strip("_") or "model"
    return f"m_{name}" if name[0].isdigit() else name


def draft_project(
    folder: Path, *, project: str, source: str, specs: Mapping[str, Spec], policy: dict[str, Any]
) -> None:
    """Write definitions.py and trimtab.yaml for some models.

    Args:
        folder: of the project; made if it is not there.
        project: its name.
        source: where the models are from, in words.
        specs: by the names that the models get, what their folders say.
        policy: sections of trimtab.yaml.

    Raises:
        UsageError: one of the files is there already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (DEFINITIONS, POLICY):
        if (folder / name).exists():
            raise UsageError(f"{folder / name}: the file exists; import into this project, or name another folder")
    text = HEAD.format(source=source, first=next(iter(specs)))
    (folder / DEFINITIONS).write_text(
        text + "".join(_model(name, spec) for name, spec in specs.items()), encoding="utf-8"
    )
    write_policy(folder, project=project, source=source, policy=policy)


def write_policy(folder: Path, *, project: str, source: str, policy: dict[str, Any]) -> None:
    """Write a drafted trimtab.yaml."""
    written = yaml.safe_dump({"project": project, **policy}, sort_keys=False, allow_unicode=True)
    (folder / POLICY).write_text(f"# Drafted by trimtab import from {source}.\n{written}", encoding="utf-8")


def _model(name: str, spec: Spec) -> str:
    label = spec.label if spec.label.isidentifier() and spec.label not in spec.features else "label"
    arguments = [f'"{name}"', f'task="{spec.task}"', f"examples={name}_rows", f'label="{label}"']
    arguments.append(f"features={_list(spec.features)}")
    if spec.feature_types:
        arguments.append(f"types={dict(spec.feature_types)!r}")
    if spec.input != "matrix":
        arguments.append(f'input="{spec.input}"')
    if spec.classes and spec.task in ("binary", "multiclass"):
        arguments.append(f"classes={_list(spec.classes)}")
    timestamp = spec.timestamp or "timestamp"
    lines = "".join(f"    {each},\n" for each in arguments)
    return f"{SOURCE.format(name=name, timestamp=timestamp)}{name} = tt.Model(\n{lines})\n"


def _list(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
