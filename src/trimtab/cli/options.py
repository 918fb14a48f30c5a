"""The options that verbs share, and how they print."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from trimtab import settings
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.clock import parse_time
from trimtab.errors import UsageError

_DEFAULTS = settings.read()

ProjectFolder = Annotated[Path, typer.Option("--project", "-p", help="Project folder.", show_default=False)]
EnvironmentName = Annotated[str, typer.Option("--env", help="Entry of `environments:` in trimtab.yaml.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ModelName = Annotated[str | None, typer.Option("--model", "-m", help="Model; needed when there are several.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]

PROJECT = _DEFAULTS.project
ENVIRONMENT = _DEFAULTS.environment


def workspace(project: Path, environment: str) -> Workspace:
    """Open the project that a command was told."""
    return open_workspace(project, environment)


def moment(option: str, text: str | None) -> datetime | None:
    """Parse a moment given on the command line. Raises UsageError."""
    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError:
        raise UsageError(
            f"{option}: '{text}' is no date or time; expected such as 2013-03-01 or 2013-03-01T05:00Z"
        ) from None


def print_json(value: Any) -> None:
    """Print records or plain values as JSON."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode())
