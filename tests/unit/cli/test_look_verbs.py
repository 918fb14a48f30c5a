"""The verbs that look, and those that list workflows, replay and show a demo, as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from integration.gateway_project import GatewayProject
from trimtab.app.loop.workflows import Workflows
from trimtab.app.project.process_files import Stop
from trimtab.app.project.workspace import Workspace
from trimtab.app.replay.replay import Tally
from trimtab.app.replay.session import ReplayOptions
from trimtab.cli import look, replay, workflows
from trimtab.clock import parse_time
from trimtab.definitions.models import Model
from trimtab.errors import UsageError

Trimtab = Callable[..., Result]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = GatewayProject(tmp_path / "project").workspace
    yield opened
    opened.metadata.close()


@pytest.fixture
def trimtab(workspace: Workspace) -> Trimtab:
    def call(app: typer.Typer, *arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--project", str(workspace.project.folder)], catch_exceptions=False)

    return call


def test_status_is_text_for_people_and_json_for_programs(trimtab: Trimtab) -> None:
    shown = trimtab(look.app, "status").stdout
    assert shown.startswith("p  gateway: not running\nmodel delay: nothing is deployed yet; run: trimtab run\n")
    assert list(json.loads(trimtab(look.app, "status", "--json").stdout)["models"]) == ["delay"]


@pytest.mark.parametrize(
    ("definitions", "code", "last"),
    [
        (None, 1, "next: put the file there, or change the path of 'flights' in definitions.py"),
        ("import nothing_of_that_name\n", 2, "next: correct definitions.py"),
    ],
)
def test_doctor_ends_with_the_next_step_and_a_code(
    workspace: Workspace, trimtab: Trimtab, definitions: str | None, code: int, last: str
) -> None:
    if definitions is not None:
        (workspace.project.folder / "definitions.py").write_text(definitions)
    found = trimtab(look.app, "doctor")
    assert (found.exit_code, found.stdout.splitlines()[-1]) == (code, last)
    as_json = trimtab(look.app, "doctor", "--json")
    assert as_json.exit_code == code
    assert "fail" in {each["verdict"] for each in json.loads(as_json.stdout)}


def test_repair_says_what_it_did_and_fails_when_something_is_left(workspace: Workspace, trimtab: Trimtab) -> None:
    assert trimtab(look.app, "repair").stdout == "nothing is damaged\n"
    (workspace.root / "workflows.db").write_text("no database, but some text that is long enough to be read" * 20)
    assert "would be moved" in trimtab(look.app, "repair", "--dry-run").stdout
    done = trimtab(look.app, "repair")
    assert (done.exit_code, done.stdout.startswith("ok    workflow database:")) == (0, True)
    assert not (workspace.root / "workflows.db").exists()


def test_schema_needs_no_project() -> None:
    shown = CliRunner().invoke(look.app, ["schema"], catch_exceptions=False).stdout
    assert "project" in json.loads(shown)["properties"]


def test_workflows_lists_none_at_first(trimtab: Trimtab) -> None:
    nothing = "no retraining is under way, and none has ended without a result\n"
    assert trimtab(workflows.app, "workflows").stdout == nothing
    assert json.loads(trimtab(workflows.app, "workflows", "list", "--json").stdout) == {
        "active": {"delay": []},
        "dead": [],
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lst"], "no such action. Did you mean 'list'"),
        (["restart"], "which workflow"),
        (["list", "retrain/1"], "takes no workflow"),
        (["forget", "retrain/1"], "no retraining 'retrain/1' has ended without a result"),
    ],
)
def test_a_workflow_is_named_where_it_must_be(trimtab: Trimtab, arguments: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        trimtab(workflows.app, "workflows", *arguments)


def test_a_dead_workflow_is_restarted_by_its_id(trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[str, str]]()
    monkeypatch.setattr(Workflows, "restart", lambda self, id_: asked.append(("restart", id_)))
    monkeypatch.setattr(Workflows, "forget", lambda self, id_: asked.append(("forget", id_)))
    assert "retrain/1 goes on where it failed" in trimtab(workflows.app, "workflows", "restart", "retrain/1").stdout
    assert "retrain/2 is forgotten" in trimtab(workflows.app, "workflows", "forget", "retrain/2").stdout
    assert asked == [("restart", "retrain/1"), ("forget", "retrain/2")]


@pytest.mark.parametrize(
    ("tally", "stopped", "code", "words"),
    [
        (Tally(sent=2), False, 0, "requests failed"),
        (Tally(sent=2, failed=1, errors=["[no] column"]), False, 1, "failed: [no] column"),
        (Tally(sent=2, labels_failed=1), False, 1, "requests failed"),
        (Tally(sent=2), True, 130, "the same command goes on from here"),
    ],
)
def test_a_replay_passes_its_options_on_and_ends_with_a_code(
    trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch, tally: Tally, stopped: bool, code: int, words: str
) -> None:
    asked = list[tuple[str, ReplayOptions]]()

    def run(workspace: Workspace, model: Model, options: ReplayOptions, *, stopping: Any, **_: Any) -> Tally:
        asked.append((model.name, options))
        stopping.requested = stopped
        return tally

    monkeypatch.setattr(replay, "run_replay", run)
    monkeypatch.setattr(Stop, "install", lambda self: None)
    done = trimtab(replay.app, "replay", "--from", "2026-03-01", "--to", "2026-03-02", "--no-up", "--approve")
    assert (done.exit_code, words in done.stdout) == (code, True)
    start, end = parse_time("2026-03-01"), parse_time("2026-03-02")
    expected = ReplayOptions(environment="local", start=start, end=end, start_loop=False, approve=True)
    assert asked == [("delay", expected)]


def test_a_demo_of_no_template_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no demo 'bike'\. Did you mean 'bikes'"):
        CliRunner().invoke(replay.app, ["demo", "bike", "--into", str(tmp_path / "x")], catch_exceptions=False)
    assert not (tmp_path / "x").exists()
