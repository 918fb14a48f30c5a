"""What a run was made with: with git, without git, with changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from trimtab.training.environment import UNVERSIONED, capture, code_version


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "definitions.py").write_text("a = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_committed_project_has_its_revision(repository: Path) -> None:
    assert code_version(repository) == git(repository, "rev-parse", "HEAD")


def test_changes_and_new_files_make_it_dirty(repository: Path) -> None:
    revision = git(repository, "rev-parse", "HEAD")
    (repository / "new.py").write_text("b = 2\n")
    assert code_version(repository) == f"{revision}+dirty"
    (repository / "new.py").unlink()
    (repository / "definitions.py").write_text("a = 2\n")
    assert code_version(repository) == f"{revision}+dirty"


def test_a_change_elsewhere_in_the_repository_does_not(repository: Path) -> None:
    project = repository / "project"
    project.mkdir()
    (project / "definitions.py").write_text("a = 1\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "second")
    (repository / "definitions.py").write_text("a = 9\n")
    assert code_version(project) == git(repository, "rev-parse", "HEAD")


def test_a_folder_that_git_does_not_track_is_unversioned(repository: Path, tmp_path: Path) -> None:
    project = repository / "ignored"
    project.mkdir()
    (repository / ".gitignore").write_text("ignored/\n")
    assert code_version(project) == UNVERSIONED
    assert code_version(tmp_path) == UNVERSIONED


def test_without_git_it_is_unversioned(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version(repository) == UNVERSIONED
    assert capture(repository).packages


def test_packages_are_listed_once_sorted_and_hashed(repository: Path) -> None:
    found = capture(repository)
    names = [package.partition("==")[0] for package in found.packages]
    assert names == sorted(set(names))
    assert "mlflow-skinny" in names
    assert len(found.hash) == 64
    assert found.listing.splitlines() == list(found.packages)
    assert capture(repository).hash == found.hash


def test_requirements_are_the_distributions_of_some_modules(repository: Path) -> None:
    found = capture(repository).requirements(["numpy", "mlflow", "sklearn", "no_such_module"])
    assert [line.partition("==")[0] for line in found.splitlines()] == ["mlflow", "numpy", "scikit-learn"]
    assert f"numpy=={np.__version__}" in found.splitlines()


def test_the_code_hash_follows_the_code(repository: Path) -> None:
    before = capture(repository).code_hash
    (repository / "definitions.py").write_text("a = 2\n")
    assert capture(repository).code_hash != before
