"""One small project with two trainings of different parameters and code, the first of them judged."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kit.small_project import AS_OF, FIT, POLICY, TwoRuns, git, make_project, open_small, trained
from trimtab.app.stages import pipeline


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> TwoRuns:
    folder = make_project(tmp_path_factory.mktemp("two") / "project")
    workspace = open_small(folder)
    first = trained(workspace)
    pipeline.evaluate(workspace, first)
    (folder / "trimtab.yaml").write_text(POLICY.replace("max_iter: 8", "max_iter: 30"))
    (folder / "shapes.py").write_text(FIT.replace("(random_state", "(l2_regularization=1.0, random_state"))
    git(folder, "commit", "-q", "-a", "-m", "more rounds")
    return TwoRuns(open_small(folder), first, trained(open_small(folder, AS_OF + timedelta(days=1))))
