"""Projects whose console is tested."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kit.consoles import POLICY, SIGN_IN, make_project
from kit.small_project import TwoRuns, make_two_runs
from trimtab.app.gateway import tokens
from trimtab.app.project.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A project whose console asks for no sign-in."""
    return make_project(tmp_path)


@pytest.fixture
def guarded(tmp_path: Path) -> Workspace:
    """A project whose console asks for tokens."""
    return make_project(tmp_path / "guarded", POLICY + SIGN_IN)


@pytest.fixture
def secret_of(guarded: Workspace) -> Callable[..., str]:
    """Return a function that makes a token and returns its secret."""

    def make(name: str, *verbs: str) -> str:
        _, secret = tokens.create(guarded.metadata, guarded.clock, name, verbs=verbs or ("read",), by="test")
        return secret

    return make


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> TwoRuns:
    """A project with two runs, the first of them judged."""
    return make_two_runs(tmp_path_factory.mktemp("two") / "project")
