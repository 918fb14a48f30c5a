"""The templates beside flights: bikes runs, serves and is replayed; blank runs once its names are changed."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from e2e.kit import edit_policy, stop_everything
from kit.commands import trimtab
from trimtab import settings
from trimtab.app.project import templates
from trimtab.app.project.workspace import open_workspace
from trimtab.cli import look, stages
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import latest


@pytest.fixture
def bikes(tmp_path: Path) -> Iterator[Path]:
    """The project bikes with the rides of January to March."""
    if importlib.util.find_spec("ISLP") is None and not settings.read().ci:
        pytest.skip("the data of bikes is not here: pip install --no-deps ISLP")
    folder = tmp_path / "bikes"
    templates.init("bikes", folder)
    for path in (folder / "data" / "rides").glob("*.parquet"):
        if path.stem > "2011-03":
            path.unlink()
    edit_policy(
        folder, serving={"port": 0}, training={"params": {"max_iter": 20}}, gates={"performance": {"p99": "10s"}}
    )
    yield folder
    stop_everything(folder)


def test_bikes_runs_serves_and_is_replayed(bikes: Path) -> None:
    done = trimtab("run", "-p", bikes, "--as-of", "2011-03-20")
    assert "warning" not in done.stdout
    played = trimtab("replay", "-p", bikes, "--from", "2011-03-20", "--to", "2011-03-22")
    assert re.search(r"4\d of 4\d requests\s+0 failed", played.stdout)
    assert doctor(bikes)[-1] == "next: trimtab up"


def write_sales(path: Path) -> None:
    rng = np.random.default_rng(0)
    asked = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(600)]
    age = rng.normal(40, 10, 600).round(1)
    bought = (age / 10 + rng.normal(size=600) > 4).astype(int)
    rows = {"asked_at": asked, "decided_at": [at + timedelta(hours=5) for at in asked], "who": ["a", "b"] * 300}
    path.parent.mkdir()
    pl.DataFrame({**rows, "age": age, "bought": bought}).write_csv(path)


def change(folder: Path, *names: tuple[str, str]) -> None:
    path = folder / "definitions.py"
    text = path.read_text()
    for before, after in names:
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)


def doctor(folder: Path) -> list[str]:
    return CliRunner().invoke(look.app, ["doctor", "-p", str(folder)]).stdout.splitlines()


def test_blank_leads_to_a_model_step_by_step(tmp_path: Path) -> None:
    # given a new project, doctor asks for the file
    folder = tmp_path / "mine"
    templates.init("blank", folder)
    edit_policy(folder, training={"params": {"max_iter": 10}}, gates={"performance": {"p99": "10s"}})
    assert doctor(folder)[-1] == "next: put the file there, or change the path of 'examples' in definitions.py"
    # when it is there, for the names of its columns
    write_sales(folder / "data" / "sales.csv")
    change(folder, ("data/examples.parquet", "data/sales.csv"))
    assert "source 'examples' has no column 'timestamp'." in "".join(doctor(folder))
    # and when these are right, the view of the past included, it runs
    change(
        folder,
        ('"timestamp"', '"asked_at"'), ('"known_at"', '"decided_at"'), ('"label"', '"bought"'),
        ('["x1", "x2"]', '["age", history]'), ("# customer = ", "customer = "), ("customer_id", "who"),
        ("# history = ", "history = "), ('#     "history"', '    "history"'), ("# )", ")"),
    )  # fmt: skip
    assert doctor(folder)[-1] == "next: trimtab run"
    done = CliRunner().invoke(stages.app, ["run", "-p", str(folder)])
    assert done.exit_code == 0, done.output
    assert doctor(folder)[-1] == "next: trimtab up"
    assert latest(open_workspace(folder).metadata, Revision, model="model") is not None
