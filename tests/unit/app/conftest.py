"""One small project with two trainings of different parameters and code, the first of them judged."""

from __future__ import annotations

import pytest

from kit.small_project import TwoRuns, make_two_runs


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> TwoRuns:
    return make_two_runs(tmp_path_factory.mktemp("two") / "project")
