"""A run that is made again: on another day, after the project went on, with a trainer that is left to chance."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from kit.small_project import AS_OF, DEFINITIONS, FIT, git, make_project, open_small, trained
from trimtab import settings
from trimtab.app.project.workspace import Workspace
from trimtab.app.runs.found_run import find_run
from trimtab.app.runs.reproduction import Reproduction, reproduce
from trimtab.errors import NotFound, StageError, UsageError
from trimtab.records.training import Run


def verdicts(found: Reproduction) -> dict[str, str]:
    return {part.name: part.verdict for part in found.parts}


def text(found: Reproduction, part: str) -> str:
    return next(each.text for each in found.parts if each.name == part)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("small") / "repository" / "project")


@pytest.fixture(scope="module")
def run(project: Path) -> Run:
    """A run with a change that was not committed. Later the project went on, and so did its policy."""
    changed = FIT.replace("random_state=seed", "random_state=seed, l2_regularization=2.0")
    (project / "shapes.py").write_text(changed)
    made = trained(open_small(project))
    (project / "shapes.py").write_text(FIT.replace("fit(data.X, data.y)", "fit(data.X[9:], data.y[9:])"))
    (project / "definitions.py").write_text(DEFINITIONS.replace('["amount", "age"]', '["amount"]'))
    (project / "trimtab.yaml").write_text("project: other\n")
    git(project, "commit", "-q", "-a", "-m", "second")
    return made


@pytest.fixture
def workspace(project: Path, run: Run) -> Workspace:
    """The project of a later day."""
    return open_small(project, AS_OF + timedelta(days=40))


def test_a_run_of_another_day_and_of_uncommitted_code_is_the_same_to_the_byte(workspace: Workspace, run: Run) -> None:
    # given a record that names another version of a package than the one that is installed
    assert run.code_version.endswith("+dirty")
    pins = tuple("scikit-learn==0.1" if pin.startswith("scikit-learn==") else pin for pin in run.pins)
    recorded = msgspec.structs.replace(run, pins=pins)

    # when it is made again
    before = workspace.metadata.count(Run)
    found = reproduce(workspace, recorded, here=True)

    # then the model is the same, the package is named, and nothing is left behind
    assert found.identical, found
    assert [(pin.name, pin.recorded) for pin in found.pins] == [("scikit-learn", "0.1")]
    assert verdicts(found) == {
        "environment": "different",
        "code": "same",
        "data set": "same",
        "parameters": "same",
        "model": "same",
        "metrics": "same",
        "predictions": "same",
    }
    assert {file.name for file in found.files} >= {"model.onnx", "model.skops", "reference/windows.json"}
    assert "with its uncommitted changes" in text(found, "code")
    assert "made again from rows@" in text(found, "data set")
    assert workspace.metadata.count(Run) == before
    assert git(workspace.project.folder, "worktree", "list").count("\n") == 0
    assert list((settings.read().cache.expanduser() / "checkouts").glob(f"{run.id[:8]}-*")) == []


def test_other_parameters_give_another_model_and_its_parts_are_named(workspace: Workspace, run: Run) -> None:
    # given a record that says less than what was done: another number of rounds
    recorded = msgspec.structs.replace(run, id="f" * 32, params={**run.params, "max_iter": 9})
    workspace = _with_run(workspace, recorded)
    found = reproduce(workspace, recorded, here=True)
    assert not found.identical
    assert verdicts(found)["model"] == verdicts(found)["metrics"] == verdicts(found)["predictions"] == "different"
    assert verdicts(found)["trainer"] == "same", "two trainings agree, so chance is not the reason"
    graph = next(file for file in found.files if file.name == "model.onnx")
    assert "TreeEnsemble" in graph.text
    assert "rows of the holdout differ, by up to" in text(found, "predictions")


def test_a_trainer_that_is_left_to_chance_is_named(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project")
    chance = FIT.replace("random_state=seed", "random_state=int.from_bytes(os.urandom(4)), early_stopping=True")
    (folder / "shapes.py").write_text(f"import os\n{chance}")
    git(folder, "commit", "-q", "-a", "-m", "left to chance")
    workspace = open_small(folder)
    found = reproduce(workspace, trained(workspace), here=True)
    assert not found.identical
    assert verdicts(found)["trainer"] == "different"
    assert text(found, "trainer").startswith("not deterministic: two trainings with one seed")
    assert "model.onnx" in text(found, "trainer")


def test_code_that_cannot_be_brought_back_is_named(workspace: Workspace, run: Run) -> None:
    lost = msgspec.structs.replace(run, code_version="f" * 40)
    with pytest.raises(StageError, match=f"git revision {'f' * 40}, which .* does not have; fetch it"):
        reproduce(workspace, lost, here=True)
    large = msgspec.structs.replace(run, changes="too large")
    with pytest.raises(StageError, match=r"uncommitted changes .* were not kept since they are too large"):
        reproduce(workspace, large, here=True)


def test_a_run_is_found_by_the_start_of_its_id(workspace: Workspace, run: Run) -> None:
    assert find_run(workspace, run.id[:5]) == run
    with pytest.raises(NotFound, match="no run 'zz'"):
        find_run(workspace, "zz")
    with pytest.raises(NotFound, match=r"no bundle 'risk/1'\. None is registered"):
        find_run(workspace, "risk/1")
    with pytest.raises(NotFound, match="model 'risk' has no champion in service"):
        find_run(workspace, "champion")
    _with_run(workspace, msgspec.structs.replace(run, id=f"{run.id[:5]}x", key="another"))
    with pytest.raises(UsageError, match=f"2 runs begin with '{run.id[:5]}'"):
        find_run(workspace, run.id[:5])


def _with_run(workspace: Workspace, run: Run) -> Workspace:
    workspace.metadata.put(run)
    return workspace
