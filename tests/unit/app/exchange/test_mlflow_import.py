"""Registered models of a server as bundles and revisions: of the definition that fits, or in a drafted project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

from kit.commands import typed
from kit.small_project import make_project
from trimtab import settings
from trimtab.app.exchange.found_models import Imported
from trimtab.app.exchange.mlflow_import import import_mlflow
from trimtab.app.exchange.mlflow_push import push
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.bundle.spec import read_spec
from trimtab.errors import DataError, UsageError
from trimtab.records.gate_reports import GateReport
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, Run
from trimtab.runtimes.opening import open_scorer
from trimtab.training.mlflow_client import open_client

RANDOM = np.random.default_rng(0)
ROWS = pd.DataFrame({"amount": RANDOM.gamma(2.0, 100.0, 200), "age": RANDOM.integers(18, 80, 200).astype(float)})
QUICK: dict[str, Any] = {"pip_requirements": ["mlflow"]}
"""Without requirements MLflow looks for them in a process of its own."""
BAD = (ROWS.amount > 200).astype(int)


class Server:
    """A tracking store with registered models."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.uri = folder, f"sqlite:///{folder}/other.db"
        self.client = open_client(self.uri, settings.read().cache.expanduser())
        self.experiment = self.client.create_experiment("old", artifact_location=(folder / "files").as_uri())

    def add(self, name: str, path: Path, *aliases: str, **params: str) -> None:
        """Register the MLflow model in a folder as the next version, of a run with parameters and a metric."""
        run = self.client.create_run(self.experiment, tags={"team": "risk"}).info.run_id
        for key, value in params.items():
            self.client.log_param(run, key, value)
        self.client.log_metric(run, "auc", 0.81)
        self.client.log_artifacts(run, str(path), "model")
        if name not in [each.name for each in self.client.search_registered_models()]:
            self.client.create_registered_model(name)
        source = f"{self.client.get_run(run).info.artifact_uri}/model"
        version = self.client.create_model_version(name, source, run_id=run, tags={"reviewed": "yes"})
        for alias in aliases:
            self.client.set_registered_model_alias(name, alias, version.version)


def saved(folder: Path, estimator: Any, rows: pd.DataFrame = ROWS, form: str = "skops") -> Path:
    """Save a fitted classifier as MLflow does."""
    import mlflow.sklearn

    fitted = estimator.fit(rows, BAD)
    signature = infer_signature(rows, fitted.predict(rows))
    mlflow.sklearn.save_model(fitted, str(folder), signature=signature, serialization_format=form, **QUICK)
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "server")


def imported(folder: Path, server: Server, *names: str, **more: Any) -> list[Imported]:
    return list(import_mlflow(folder, "local", server.uri, names=names, by="ann", **more))


def scores(workspace: Workspace, bundle: Bundle) -> np.ndarray[Any, Any]:
    folder = workspace.artifacts.open(bundle.path)
    spec = read_spec(folder)
    scorer = open_scorer(folder, spec, trust=workspace.project.policy.serving.trust)
    found = np.asarray(scorer.score(ROWS[list(spec.features)].to_numpy(dtype=np.float32)))
    scorer.close()
    return found


def test_aliases_become_revisions_of_the_model_of_that_name_once(server: Server, tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project")
    first, second = LogisticRegression(C=1.0), LogisticRegression(C=0.01)
    server.add("risk", saved(tmp_path / "one", first), "champion", C="1.0")
    server.add("risk", saved(tmp_path / "two", second, ROWS[["age", "amount"]]), "challenger", "mine", C="0.01")
    done = imported(folder, server)
    assert [(each.source, each.outcome) for each in done] == [
        ("risk/1", "bundle"),
        ("risk@champion", "revision"),
        ("risk/2", "bundle"),
        ("risk@challenger", "revision"),
        ("risk", "left out"),
    ]
    assert done[-1].detail == "alias mine: it is no role; roles are champion, challenger, shadow"
    again = [each.outcome for each in imported(folder, server)]
    assert again == ["known", "known", "known", "known", "left out"]
    workspace = open_workspace(folder)
    one, two = workspace.metadata.find(Bundle, oldest_first=True)
    assert (one.id, two.id, two.features) == ("risk/1", "risk/2", ("age", "amount"))
    assert one.origin is not None
    assert (one.origin.environment, one.origin.bundle) == (f"mlflow:{server.uri}", "risk/1")
    for bundle, model in ((one, first), (two, second)):
        wanted = model.predict_proba(ROWS[list(bundle.features)])[:, 1]
        np.testing.assert_allclose(scores(workspace, bundle), wanted, atol=1e-5)
    run = workspace.metadata.get(Run, one.run)
    assert (run.params, run.metrics) == ({"C": "1.0"}, {"auc": 0.81})
    report = workspace.metadata.get(GateReport, one.gate_report)
    assert (report.verdict, "nothing was measured here" in report.results[0].reason) == ("warn", True)
    revision = open_rollouts(workspace, "risk").current()
    assert revision is not None
    assert (revision.bundle_in("champion"), revision.bundle_in("challenger")) == ("risk/1", "risk/2")
    assert len(workspace.metadata.find(Revision)) == 2
    for verb in ("runs", "history", "status", "doctor"):
        shown = typed(verb, "-p", folder, check=False)
        assert "Traceback" not in shown.stderr
        assert "fail  training sets" not in shown.stdout


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (ROWS[["amount"]], "it takes no feature 'age', which the definition has"),
        (ROWS.assign(city=1.0), "it needs the feature 'city', which the definition lacks"),
    ],
)
def test_a_signature_that_does_not_fit_is_told_and_changes_nothing(
    server: Server, tmp_path: Path, rows: pd.DataFrame, said: str
) -> None:
    folder = make_project(tmp_path / "project")
    server.add("risk", saved(tmp_path / "one", LogisticRegression(), rows), "champion")
    with pytest.raises(DataError, match="risk/1 does not fit the model 'risk'") as error:
        imported(folder, server)
    assert said in str(error.value)
    assert not open_workspace(folder).metadata.find(Bundle)
    definitions = folder / "definitions.py"
    definitions.write_text(definitions.read_text().replace('task="binary"', 'task="regression"'))
    (folder / "trimtab.yaml").write_text("project: small\n")
    with pytest.raises(DataError, match="its task is binary, the definition's regression"):
        imported(folder, server)


def test_a_project_is_drafted_where_there_is_none_and_serves(server: Server, tmp_path: Path) -> None:
    import catboost
    import lightgbm
    import mlflow.catboost
    import mlflow.lightgbm

    server.add("old.Risk model", saved(tmp_path / "one", LogisticRegression()))
    signature = infer_signature(ROWS, np.array([0.5]))
    booster = lightgbm.LGBMRegressor(n_estimators=5, n_jobs=1, verbose=-1).fit(ROWS, ROWS.age).booster_
    mlflow.lightgbm.save_model(booster, str(tmp_path / "two"), signature=signature, **QUICK)
    server.add("price", tmp_path / "two", "champion")
    trees = catboost.CatBoostRegressor(iterations=5, verbose=False, allow_writing_files=False).fit(ROWS, ROWS.age)
    mlflow.catboost.save_model(trees, str(tmp_path / "three"), signature=signature, **QUICK)
    server.add("trees", tmp_path / "three", "champion")
    folder = tmp_path / "drafted"
    done = imported(folder, server)
    assert done[0].outcome == "drafted"
    assert "no alias champion: the newest version, 1, is taken for it" in [each.detail for each in done]
    workspace = open_workspace(folder)
    assert set(workspace.project.definitions.models) == {"Risk_model", "price", "trees"}
    found = {bundle.model: bundle for bundle in workspace.metadata.find(Bundle)}
    np.testing.assert_allclose(scores(workspace, found["price"]), booster.predict(ROWS), atol=1e-5)
    np.testing.assert_allclose(scores(workspace, found["trees"]), trees.predict(ROWS), atol=1e-5)
    assert read_spec(workspace.artifacts.open(found["trees"].path)).runtime == "catboost"
    assert {each.outcome for each in imported(folder, server)} == {"known", "left out"}
    assert "FileSource" in (folder / "definitions.py").read_text()


def test_a_pickle_needs_trust_and_names_are_told(server: Server, tmp_path: Path) -> None:
    server.add("risk", saved(tmp_path / "one", LogisticRegression(), form="cloudpickle"), "champion")
    with pytest.raises(DataError, match=r"loaded by unpickling .*--trust pyfunc"):
        imported(tmp_path / "drafted", server)
    assert not (tmp_path / "drafted" / "trimtab.yaml").exists()
    with pytest.raises(UsageError, match=r"no registered model 'rsk'\. Did you mean 'risk'"):
        imported(tmp_path / "drafted", server, "rsk")
    folder = make_project(tmp_path / "project")
    text = (folder / "definitions.py").read_text().replace('"risk"', '"other"')
    (folder / "definitions.py").write_text(text)
    with pytest.raises(UsageError, match="has no model for the registered model 'risk'"):
        imported(folder, server)


def test_what_a_project_pushed_comes_back(server: Server, tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project")
    server.add("risk", saved(tmp_path / "one", LogisticRegression()), "champion")
    imported(folder, server)
    list(push(open_workspace(folder), f"sqlite:///{tmp_path}/third.db", models=["risk"]))
    outcomes = list(import_mlflow(tmp_path / "copy", "local", f"sqlite:///{tmp_path}/third.db", names=(), by="ann"))
    assert [each.outcome for each in outcomes] == ["drafted", "bundle", "revision"]
    here, there = open_workspace(folder), open_workspace(tmp_path / "copy")
    (mine,), (theirs,) = here.metadata.find(Bundle), there.metadata.find(Bundle)
    np.testing.assert_array_equal(scores(here, mine), scores(there, theirs))
