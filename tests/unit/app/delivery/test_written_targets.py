"""Files for other systems in a project: kept in step; stale ones found; wrong values told before a file is written."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kit.small_project import make_project
from trimtab.app.delivery.written_targets import target_files, write, written
from trimtab.errors import PolicyError, StageError

LATER = "deploy/docker/later.Dockerfile"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "small")


def states(project: Path, name: str) -> dict[str, str]:
    return {each.path: each.state for each in target_files(project, name)}


def test_files_are_written_once_and_found_when_they_differ(project: Path) -> None:
    assert written(project) == []
    files = target_files(project, "docker")
    assert {each.state for each in files} == {"absent"}
    write(files)
    assert {each.state for each in written(project)} == {"same"}
    first = Path(files[0].file)
    first.write_text(first.read_text() + "x\n")
    differing = [each for each in written(project) if each.state != "same"]
    assert [(each.path, each.state) for each in differing] == [(files[0].path, "different")]
    assert "-x" in differing[0].difference
    write(differing)
    assert {each.state for each in written(project)} == {"same"}


def test_a_file_that_is_not_made_any_more_is_stale_and_removed_unless_it_holds_lines_of_the_user(project: Path) -> None:
    write(target_files(project, "docker"))
    stale, other = project / LATER, project / "deploy/docker/notes.txt"
    stale.write_text(
        "# Written by trimtab export docker from trimtab.yaml\n# trimtab: yours a\nRUN mine\n# trimtab: end a\n"
    )
    other.write_text("mine\n")
    assert states(project, "docker")[LATER] == "stale"
    with pytest.raises(StageError, match="the region 'a' holds lines of yours"):
        write(target_files(project, "docker"))
    stale.write_text(stale.read_text().replace("RUN mine\n", ""))
    write(target_files(project, "docker"))
    assert not stale.exists()
    assert other.read_text() == "mine\n"


def test_a_wrong_value_is_told_with_its_line_before_a_file_is_written(project: Path) -> None:
    policy = project / "trimtab.yaml"
    policy.write_text(policy.read_text() + "\ndeploy:\n  ci:\n    staging: nowhere\n")
    line = policy.read_text().splitlines().index("    staging: nowhere") + 1
    with pytest.raises(PolicyError, match=rf"trimtab\.yaml:{line}: deploy\.ci\.staging: "):
        target_files(project, "github")


def test_a_file_in_the_place_of_a_folder_is_told(project: Path) -> None:
    (project / "deploy").write_text("")
    with pytest.raises(StageError, match="deploy is a file; expected a folder"):
        write(target_files(project, "docker"))


def test_a_pipeline_belongs_to_the_root_of_the_repository_also_without_git(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = shutil.which("git")
    assert git is not None
    shutil.rmtree(project / ".git", ignore_errors=True)
    subprocess.run([git, "init", "-q", project.parent], check=True)
    monkeypatch.setenv("PATH", "")
    files = target_files(project, "github")
    assert all(Path(each.file).is_relative_to(project.parent / ".github") for each in files)
    assert any("working-directory: small" in each.text for each in files)


def test_a_target_that_is_written_is_told_what_it_lacks_and_another_is_not(project: Path) -> None:
    policy = project / "trimtab.yaml"
    usual = policy.read_text()
    policy.write_text(f"{usual}\ndeploy: {{ aws: {{ region: eu-central-1 }} }}\n")
    write(target_files(project, "sagemaker"))
    policy.write_text(usual)
    with pytest.raises(PolicyError, match=r"deploy\.aws\.region: export sagemaker needs it"):
        written(project)
