"""The options that verbs share: which a verb has, and what it gets of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from trimtab.cli.context import Context, Verbs
from trimtab.errors import DefinitionError


def options(app: Verbs) -> list[str]:
    group = typer.main.get_command(app)
    (command,) = group.commands.values()  # type: ignore[attr-defined]  # a group, since the app has a callback
    return [max(parameter.opts, key=len) for parameter in command.params]


@pytest.mark.parametrize(
    ("shared", "expected"),
    [
        ({}, ["--own", "--project", "--env", "--json"]),
        ({"model": True}, ["--own", "--project", "--env", "--model", "--json"]),
        ({"model": True, "json": False}, ["--own", "--project", "--env", "--model"]),
    ],
)
def test_a_verb_has_its_own_options_and_those_that_it_shares(shared: dict[str, Any], expected: list[str]) -> None:
    app = Verbs()

    @app.verb(**shared)
    def look(context: Context, own: Annotated[int, typer.Option()] = 1) -> None:
        """Look."""

    assert options(app) == expected


def test_a_verb_gets_what_was_typed_and_prints_as_it_was_asked_to(tmp_path: Path) -> None:
    app, got = Verbs(), list[Context]()

    @app.verb(model=True)
    def look(context: Context, own: int = 1) -> None:
        got.append(context)
        context.show({"own": own}, lambda found: typer.echo(f"own is {found['own']}"))

    command = ["look", "-p", str(tmp_path), "--env", "cloud", "-m", "delay", "--own", "2"]
    assert CliRunner().invoke(app, command).output == "own is 2\n"
    assert json.loads(CliRunner().invoke(app, [*command, "--json"]).output) == {"own": 2}
    assert got == [
        Context(project=tmp_path, env="cloud", model="delay"),
        Context(project=tmp_path, env="cloud", model="delay", json=True),
    ]


def test_the_model_is_the_only_one_unless_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "trimtab.yaml").write_text("project: two\n")
    (tmp_path / "definitions.py").write_text(
        "import trimtab as tt\n"
        "rows = tt.FileSource('rows', 'rows.parquet', timestamp='at')\n"
        "a = tt.Model('a', task='binary', examples=rows, label='y', features=['x'])\n"
        "b = tt.Model('b', task='binary', examples=rows, label='y', features=['x'])\n"
    )
    assert Context(project=tmp_path, env="local", model="b").definition.name == "b"
    with pytest.raises(DefinitionError, match="defines 2 models"):
        _ = Context(project=tmp_path, env="local").definition
