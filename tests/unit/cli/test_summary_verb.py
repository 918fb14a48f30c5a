"""The verb `trimtab summary`: where its Markdown goes, and what it says after a stage failed."""

from pathlib import Path

import msgspec
import pytest

from kit.commands import typed
from kit.task_projects import make_quantile


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_quantile(tmp_path / "project").project.folder


def test_the_file_of_the_job_gets_it_in_addition_to_what_it_has(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, file = tmp_path / "job.md", tmp_path / "comment.md"
    job.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(job))
    typed("summary", "-p", project)
    assert job.read_text().startswith("before\n<!-- trimtab summary: small local -->\n")
    size = job.stat().st_size
    typed("summary", "-p", project, "--markdown", file)
    assert file.read_text().startswith("<!-- trimtab summary")
    assert job.stat().st_size == size, "a named file is the only one"
    assert typed("summary", "-p", project, "--markdown", "-").stdout == file.read_text()


def test_a_stage_that_failed_is_told_with_exit_code_0(project: Path) -> None:
    (project / "trips.parquet").unlink()
    assert typed("ingest", "-p", project, check=False).returncode == 1
    done = typed("summary", "-p", project)
    assert "problem   ingest failed: source 'trips': there is no" in done.stdout
    found = msgspec.json.decode(typed("summary", "-p", project, "--json").stdout)
    assert (found["verdict"], found["stages"][0]["stage"]) == ("failed", "ingest")


def test_a_wrong_policy_is_told_in_the_file_and_by_the_exit_code(project: Path, tmp_path: Path) -> None:
    (project / "trimtab.yaml").write_text("project: small\ntrainin: {}\n")
    done = typed("summary", "-p", project, "--markdown", tmp_path / "s.md", check=False)
    assert done.returncode == 2
    assert "The project cannot be opened" in (tmp_path / "s.md").read_text()
    assert "trainin" in (tmp_path / "s.md").read_text()
