"""What `trimtab doctor` finds in a project, whether a file must be changed, and which step it names first."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kit.prompt_project import DEFINITIONS as DEFINITIONS_OF_A_PROMPT
from kit.prompt_project import write_prompt_project
from trimtab.app.project.locks import only_loop
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports.doctor import Finding, examine, next_step
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.app.stages import ingesting
from trimtab.clock import ManualClock
from trimtab.testing.judged import bundle_record

POLICY = "project: p\n"
DEFINITIONS = """
import trimtab as tt

rows = tt.FileSource("rows", "rows.csv", timestamp="at")
delay = tt.Model("delay", task="binary", examples=rows, label="late", features=["a"])

@delay.trainer
def train(data, params, seed):
    raise NotImplementedError
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with a file that was not ingested."""
    (tmp_path / "trimtab.yaml").write_text(POLICY)
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "rows.csv").write_text("at,a,late\n2026-01-01T00:00Z,1,0\n")
    return tmp_path


@pytest.fixture
def workspace(folder: Path) -> Iterator[Workspace]:
    opened = open_workspace(folder, clock=ManualClock(datetime(2026, 2, 1, tzinfo=UTC)))
    yield opened
    opened.metadata.close()


def found(folder: Path, subject: str) -> Finding:
    (finding,) = [each for each in examine(folder, "local") if each.subject == subject]
    return finding


@pytest.mark.parametrize(
    ("file", "text", "subject"),
    [
        ("trimtab.yaml", "projct: p\n", "policy"),
        ("definitions.py", "import nothing_of_that_name\n", "definitions"),
        ("definitions.py", DEFINITIONS.replace("@delay.trainer", ""), "trainer delay"),
    ],
)
def test_a_wrong_file_is_a_failure_that_says_so(folder: Path, file: str, text: str, subject: str) -> None:
    (folder / file).write_text(text)
    failed = [each for each in examine(folder, "local") if each.verdict == "fail"]
    assert [(each.subject, each.wrong) for each in failed] == [(subject, True)]


def test_an_environment_that_is_none_is_told(folder: Path) -> None:
    (failed,) = [each for each in examine(folder, "moon") if each.verdict == "fail"]
    assert (failed.subject, failed.wrong) == ("project", True)
    assert "moon" in failed.text


def test_a_file_that_is_not_there_comes_with_its_remedy(folder: Path) -> None:
    (folder / "rows.csv").unlink()
    source = found(folder, "source rows")
    assert (source.verdict, source.wrong) == ("fail", False)
    assert source.remedy == "put the file there, or change the path of 'rows' in definitions.py"


def test_names_are_checked_against_a_file_before_the_first_ingest(folder: Path) -> None:
    assert (found(folder, "model delay").verdict, found(folder, "model delay").remedy) == ("warn", "trimtab run")
    (folder / "rows.csv").write_text("at,b,late\n2026-01-01T00:00Z,1,0\n")
    wrong = found(folder, "model delay")
    assert (wrong.verdict, wrong.remedy) == ("fail", "change the name in definitions.py, or the column in the file")
    (folder / "rows.csv").write_text("at;a;late\n2026-01-01T00:00Z;1;0\n")
    assert "separator" in found(folder, "model delay").remedy


def test_after_an_ingest_names_are_checked_against_the_table(workspace: Workspace, folder: Path) -> None:
    ingesting.ingest(workspace)
    assert found(folder, "model delay").verdict == "ok"
    assert found(folder, "source rows").text == "1 file"
    (folder / "definitions.py").write_text(DEFINITIONS.replace('["a"]', '["b"]'))
    assert (found(folder, "model delay").verdict, found(folder, "model delay").wrong) == ("fail", True)


def test_after_an_ingest_the_columns_of_views_are_checked(workspace: Workspace, folder: Path) -> None:
    ingesting.ingest(workspace)
    view = 'seen = tt.FeatureView("seen", tt.Entity("a"), rows, [tt.count("1d", where="lat > 0")])\n'
    (folder / "definitions.py").write_text(DEFINITIONS + view)
    assert (found(folder, "view seen").verdict, found(folder, "view seen").wrong) == ("fail", True)
    assert "Did you mean 'late'?" in found(folder, "view seen").text
    (folder / "definitions.py").write_text(DEFINITIONS + view.replace("lat >", "late >"))
    assert found(folder, "view seen").text == "all columns are there"


def test_a_database_is_asked_and_one_that_is_not_there_comes_with_its_remedy(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "shop.db")) as shop:
        shop.execute("CREATE TABLE rows (id INTEGER, at TEXT, a REAL, late INTEGER)")
    source = 'tt.SQLSource("rows", connection="sqlite:///shop.db", table="rows", timestamp="at", cursor="id")'
    text = DEFINITIONS.replace('tt.FileSource("rows", "rows.csv", timestamp="at")', source)
    (folder / "definitions.py").write_text(text)
    assert (found(folder, "source rows").verdict, found(folder, "source rows").text) == (
        "ok",
        "4 columns in SQLite shop.db",
    )
    (folder / "definitions.py").write_text(text.replace("shop.db", "shp.db"))
    gone = found(folder, "source rows")
    assert gone.verdict == "fail"
    assert "Did you mean 'shop.db'?" in gone.text
    assert gone.remedy == "start it, or change what definitions.py says of it"


def test_what_serves_and_what_runs_is_told(workspace: Workspace, folder: Path) -> None:
    assert (found(folder, "serving delay").verdict, found(folder, "serving delay").remedy) == ("warn", "trimtab run")
    workspace.metadata.put(bundle_record(1))
    rollouts = Rollouts(workspace.metadata, workspace.project.policy.rollout, "delay", workspace.clock)
    rollouts.deploy(bundle_record(1), cause="1", reason="a test", by="tests")
    assert found(folder, "serving delay").text == "revision 1: champion delay/1"
    assert found(folder, "loop").text == "does not run; start it with: trimtab up"
    with only_loop(workspace, "trimtab up"):
        assert found(folder, "loop").text.startswith("runs: trimtab up (process ")


def test_a_damaged_store_is_found(workspace: Workspace, folder: Path) -> None:
    ingesting.ingest(workspace)
    assert found(folder, "store tables").verdict == "ok"
    for log in (folder / ".trimtab" / "tables").rglob("_delta_log/*.json"):
        log.write_text("{}")
    assert found(folder, "store tables").verdict == "fail"


def test_the_next_step_is_the_remedy_of_the_worst_finding() -> None:
    fine, off = Finding("disk", "ok", "12 GB free"), Finding("gateway", "ok", "does not run")
    warned, failed = Finding("a", "warn", "odd", "look"), Finding("b", "fail", "bad", "mend")
    assert next_step([fine, warned, failed]) == "mend"
    assert next_step([fine, warned]) == "look"
    assert next_step([Finding("c", "fail", "bad")]).endswith("what is said of c")
    assert next_step([fine, off]) == "trimtab up"
    assert next_step([fine, Finding("gateway", "ok", "runs at http://127.0.0.1:1 (process 1)")]) == "trimtab status"


def test_keys_of_endpoints_and_examples_of_prompts_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_prompt_project(tmp_path)
    assert found(folder, "endpoint local").text == "a stand-in for a language model on this machine"
    assert found(folder, "set tickets").text == "60 examples"
    cloud = DEFINITIONS_OF_A_PROMPT.replace('"loopback"', '"http://127.0.0.1:1/v1", key="DESK_KEY"')
    write_prompt_project(folder, definitions=cloud)
    assert "the environment variable DESK_KEY is not set" in found(folder, "endpoint local").text
    monkeypatch.setenv("DESK_KEY", "s3cret")
    assert found(folder, "endpoint local").text == "http://127.0.0.1:1/v1, key DESK_KEY"
    (folder / "evals" / "tickets.jsonl").write_text(
        '{"ticket": "%s", "expected": "a", "language": "en"}\n' % ("x" * 401)
    )
    finding = found(folder, "set tickets")
    assert (finding.verdict, finding.text) == (
        "fail",
        "evals/tickets.jsonl:1: the variable 'ticket' has 401 characters; at most 400 are allowed",
    )
