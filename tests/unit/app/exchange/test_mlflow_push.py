"""A project pushed to another tracking store: what MLflow's client finds there, once, also after a push that broke."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from kit.commands import typed
from kit.small_project import make_project, open_small, trained
from trimtab.app.exchange import mlflow_push
from trimtab.app.exchange.mlflow_push import Pushed, push, without_password
from trimtab.app.project.mlflow_access import open_tracking
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.app.stages import pipeline
from trimtab.bundle.manifest import verify
from trimtab.errors import StoreError, UsageError
from trimtab.records.training import Bundle, Run

NAME = "small.risk"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project with one bundle that serves, of a run that the gates judged and of its fit on all rows."""
    workspace = open_small(make_project(tmp_path_factory.mktemp("pushed") / "project"))
    run = trained(workspace)
    bundle = pipeline.register(workspace, run, pipeline.evaluate(workspace, run))
    pipeline.deploy(workspace, bundle, cause="test", reason="a test", by="tests", role="champion")
    return workspace


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/other.db"


def pushed(workspace: Workspace, uri: str) -> list[Pushed]:
    return list(push(workspace, uri, models=["risk"]))


def test_a_project_is_there_once_with_all_that_mlflow_shows(project: Workspace, uri: str) -> None:
    (bundle,) = project.metadata.find(Bundle)
    first = pushed(project, uri)
    assert [(each.kind, each.state) for each in first] == [
        ("run", "new"),
        ("run", "new"),
        ("version", "new"),
        ("alias", "new"),
    ]
    assert {each.state for each in pushed(project, uri)} == {"known"}
    there, here = MlflowClient(uri, uri), open_tracking(project).client
    experiment = there.get_experiment_by_name("small/risk")
    assert experiment is not None
    runs = {run.data.tags["trimtab.pushed_from"]: run for run in there.search_runs([experiment.experiment_id])}
    assert set(runs) == {bundle.run, bundle.refit}
    run, local = runs[bundle.run], here.get_run(project.metadata.get(Run, bundle.run).id)
    assert (run.data.params, run.data.metrics) == (local.data.params, local.data.metrics)
    assert (run.info.status, run.info.start_time) == ("FINISHED", local.info.start_time)
    assert run.data.tags["trimtab.verdict"] == local.data.tags["trimtab.verdict"]
    assert "trimtab.key" not in run.data.tags  # the project on that server must not take it for its own training
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.digest == bundle.dataset[:36]
    names = {file.path for file in there.list_artifacts(run.info.run_id)}
    assert names == {file.path for file in here.list_artifacts(local.info.run_id)}
    version = there.get_model_version_by_alias(NAME, "champion")
    serves = runs[str(bundle.refit)].info.run_id
    assert (version.run_id, version.tags["trimtab.bundle"]) == (serves, bundle.id)
    copy = there.download_artifacts(serves, "bundle")
    assert verify(Path(copy)) == bundle.digest
    assert len(there.search_model_versions(f"name = '{NAME}'")) == 1


@pytest.mark.parametrize("broken", ["log_artifacts", "create_model_version"])
def test_a_push_that_broke_is_completed_by_the_next(
    project: Workspace, uri: str, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("the server is away")

    pushed_to = mlflow_push.open_other(project, uri).client  # its class is that of all clients
    monkeypatch.setattr(type(pushed_to), broken, fail)
    with pytest.raises(StoreError, match="the server is away"):
        pushed(project, uri)
    monkeypatch.undo()
    first, second, *rest = [(each.kind, each.state) for each in pushed(project, uri)]
    runs = {first[1], second[1]}
    assert runs == ({"known"} if broken == "create_model_version" else {"completed", "new"})
    assert rest == [("version", "new"), ("alias", "new")]
    there = MlflowClient(uri, uri)
    experiment = there.get_experiment_by_name("small/risk")
    assert experiment is not None
    found = there.search_runs([experiment.experiment_id])
    assert len(found) == 2
    for run in found:
        assert all(len(there.get_metric_history(run.info.run_id, name)) == 1 for name in run.data.metrics)
    assert len(there.search_model_versions(f"name = '{NAME}'")) == 1


def test_aliases_follow_what_serves(project: Workspace, uri: str) -> None:
    pushed(project, uri)
    (bundle,) = project.metadata.find(Bundle)
    there = MlflowClient(uri, uri)
    there.set_registered_model_alias(NAME, "challenger", "1")
    there.set_registered_model_alias(NAME, "mine", "1")
    assert open_rollouts(project, "risk").current() is not None
    states = {each.there: each.state for each in pushed(project, uri) if each.kind == "alias"}
    assert states == {f"{NAME}@champion = 1": "known", f"{NAME}@challenger": "removed"}
    assert set(there.get_registered_model(NAME).aliases) == {"champion", "mine"}  # ours are the three roles
    assert bundle.version == 1


def test_wrong_addresses_are_told_without_their_password(project: Workspace) -> None:
    with pytest.raises(UsageError, match="the tracking store of the project itself"):
        pushed(project, project.tracking_uri)
    assert without_password("https://ann:secret@ml.example.com/x") == "https://ml.example.com/x"
    folder = project.project.folder
    for arguments, said in (
        (("export", "mlflow"), "trimtab export mlflow needs --to URI"),
        (("export", "mlflow", "--write"), "writes no files"),
        (("export", "mlflw"), "Did you mean 'mlflow'?"),
        (("export", "grafana", "--all"), "--to, --all and --model belong to: trimtab export mlflow"),
        (("export", "mlflow", "--to", "http://a:b@127.0.0.1:9"), "MLflow at http://127.0.0.1:9: "),
    ):
        done = typed(*arguments, "-p", folder, check=False)
        assert done.returncode in (1, 2, 3), done.stderr
        assert said in done.stderr
        assert "a:b@" not in done.stderr
