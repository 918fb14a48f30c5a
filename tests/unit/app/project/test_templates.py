"""`trimtab init`: what it writes, what it keeps, and the revision that runs can name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trimtab.app.project import git as history
from trimtab.app.project import templates
from trimtab.errors import UsageError


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_a_wrong_template_is_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'flights'"):
        templates.init("flihgts", tmp_path / "x")


def test_init_again_keeps_what_the_user_changed(tmp_path: Path) -> None:
    folder = tmp_path / "flights"
    (folder / "data").mkdir(parents=True)  # as if it had been made before: making it takes seconds
    assert "trimtab.yaml" in templates.init("flights", folder)
    (folder / "trimtab.yaml").write_text("project: mine\n")
    (folder / "checks.py").unlink()
    assert templates.init("flights", folder) == ["checks.py"]
    assert (folder / "trimtab.yaml").read_text() == "project: mine\n"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_new_project_has_a_first_revision(tmp_path: Path) -> None:
    (tmp_path / "definitions.py").write_text("x = 1\n")
    assert history.begin(tmp_path)
    assert git(tmp_path, "status", "--porcelain") == ""
    assert len(git(tmp_path, "rev-parse", "HEAD")) == 40
    assert not history.begin(tmp_path)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_project_in_a_repository_stays_in_it_unless_it_is_ignored(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text("/demo/\n")
    for name in ("demo", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "definitions.py").write_text("x = 1\n")
    assert history.begin(tmp_path / "demo")
    assert not history.begin(tmp_path / "model")


def test_a_new_project_keeps_stores_and_made_data_out_of_version_control(tmp_path: Path) -> None:
    for name in templates.names():
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True)
        assert ".gitignore" in templates.init(name, folder)
        ignored = (folder / ".gitignore").read_text().split()
        assert ".trimtab/" in ignored
        assert ("data/" in ignored) == (folder / "prepare.py").exists()


@pytest.mark.parametrize("name", ["bikes", "flights", "fraud"])
def test_data_that_is_there_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").write_text("a\n1\n")
    shutil.copy(templates.IN_REPOSITORY / name / "prepare.py", tmp_path)
    done = subprocess.run([sys.executable, "prepare.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "kept as it is" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "prepare.py"]
    assert (tmp_path / "data" / "mine.csv").exists()
