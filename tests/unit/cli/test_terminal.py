"""What is piped is not cut to the width of a screen, and square brackets are printed as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from integration.gateway_project import GatewayProject
from trimtab.cli.look import app
from trimtab.cli.replay import live_view
from trimtab.cli.terminal import say
from trimtab.cli.views import _label

TABLE = """
from trimtab.cli.terminal import console, heading
from trimtab.cli.views import table
heading("2 of 3  run")
rows = table("Versions", "version", "what became of it")
rows.add_row("1", "abandoned: " + "evidence " * 40)
rows.add_row("2", "short")
console.print(rows)
"""


def test_each_row_of_a_piped_table_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", TABLE], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "-- 2 of 3  run"
    assert [line.count("evidence") for line in lines if "evidence" in line] == [40]
    assert max(map(len, lines)) < 500
    assert not [line for line in lines if line.endswith(" ")]


def test_brackets_in_names_and_reasons_are_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say("approve  m/decision/1, by ann: [/] pip install 'trimtab[grpc]'")
    assert capsys.readouterr().out == "approve  m/decision/1, by ann: [/] pip install 'trimtab[grpc]'\n"
    (tmp_path / "trimtab.yaml").write_text("project: p\n")
    source = """import trimtab as tt\nrows = tt.FileSource("rows", "rows[/].parquet", timestamp="at")\n"""
    (tmp_path / "definitions.py").write_text(source)
    told = CliRunner().invoke(app, ["doctor", "--project", str(tmp_path)], catch_exceptions=False)
    assert "rows[/].parquet" in told.stdout


@pytest.mark.parametrize(("label", "name", "shown"), [(1.0, None, "1"), (None, "on time", "on time")])
def test_a_label_is_shown_as_a_number_or_by_its_class(label: float | None, name: str | None, shown: str) -> None:
    known = {"label": label, "class_name": name, "known_at": "2013-01-02"}
    assert _label(known) == f"{shown}, known at 2013-01-02"


def test_an_error_under_a_piped_progress_bar_has_a_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = GatewayProject(tmp_path / "project").workspace
    play: Any = SimpleNamespace(rows=pl.DataFrame({"row": [1, 2]}))
    with pytest.raises(ValueError, match="boom"), live_view(workspace, "delay", play):
        raise ValueError("boom")
    say("error: boom")
    assert capsys.readouterr().out.splitlines()[-1] == "error: boom"
    workspace.metadata.close()
