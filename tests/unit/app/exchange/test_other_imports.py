"""InferenceServices of KServe and models of BentoML: bundles, policy drafts, and what is listed as left out."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from kit.commands import typed
from trimtab.app.exchange.bento_import import read_bento
from trimtab.app.exchange.found_models import Found, Imported, bring_in
from trimtab.app.exchange.kserve_import import read_kserve
from trimtab.app.project.workspace import open_workspace
from trimtab.bundle.spec import read_spec
from trimtab.errors import DataError, UsageError
from trimtab.records.training import Bundle
from trimtab.runtimes.opening import open_scorer

RANDOM = np.random.default_rng(0)
ROWS = pd.DataFrame({"amount": RANDOM.gamma(2.0, 100.0, 200), "age": RANDOM.integers(18, 80, 200).astype(float)})
SERVICE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: price-model}
spec:
  predictor:
    minReplicas: 1
    maxReplicas: 3
    canaryTrafficPercent: 10
    timeout: 20
    serviceAccountName: loader
    model:
      modelFormat: {name: lightgbm}
      protocolVersion: v2
      storageUri: STORAGE
      ports: [{containerPort: 8085, protocol: TCP}, {name: h2c, containerPort: 9000}]
      resources:
        requests: {cpu: 500m, memory: 1Gi}
        limits: {cpu: "2", memory: 4Gi, nvidia.com/gpu: "1"}
"""


def booster() -> Any:
    lightgbm = pytest.importorskip("lightgbm")
    return lightgbm.LGBMRegressor(n_estimators=5, n_jobs=1, verbose=-1).fit(ROWS, ROWS.age).booster_


def bento_model(folder: Path, name: str, module: str, **files: bytes) -> Path:
    """Write a model as the store of BentoML 1.4 has it."""
    place = folder / name / "v1"
    place.mkdir(parents=True)
    (folder / name / "latest").write_text("v1")
    about = {"name": name, "version": "v1", "module": f"bentoml.{module}", "labels": {"team": "risk"}, "metadata": {}}
    (place / "model.yaml").write_text(yaml.safe_dump(about))
    for file, content in files.items():
        (place / file.replace("__", ".")).write_bytes(content)
    return place


def mlflow_folder(place: Path) -> Path:
    """Write an MLflow model by hand: a booster with its signature."""
    place.mkdir(parents=True)
    booster().save_model(place / "model.lgb")
    columns = '[{"type": "double", "name": "amount"}, {"type": "double", "name": "age"}]'
    described = {
        "flavors": {"lightgbm": {"data": "model.lgb"}},
        "signature": {"inputs": columns, "outputs": '[{"type": "double"}]'},
    }
    (place / "MLmodel").write_text(yaml.safe_dump(described))
    return place


def brought(folder: Path, found: Found, *names: str) -> list[Imported]:
    return list(bring_in(folder, "local", found, names=names, trust=(), by="ann"))


def scores(folder: Path, model: str) -> Any:
    workspace = open_workspace(folder)
    (bundle,) = workspace.metadata.find(Bundle, model=model)
    place = workspace.artifacts.open(bundle.path)
    scorer = open_scorer(place, read_spec(place))
    return np.asarray(scorer.score(ROWS.to_numpy(dtype=np.float32)))


def left_out(done: list[Imported]) -> dict[str, str]:
    return {each.source: each.detail for each in done if each.outcome == "left out"}


@pytest.mark.parametrize("uri", ["models/price", "file:FOLDER/models/price", "pvc://claim/price"])
def test_an_inference_service_becomes_a_bundle_and_a_policy_draft(tmp_path: Path, uri: str) -> None:
    mlflow_folder(tmp_path / "models" / "price")
    file = tmp_path / "service.yaml"
    file.write_text(SERVICE.replace("STORAGE", uri.replace("FOLDER", str(tmp_path))))
    folder = tmp_path / "drafted"
    done = brought(folder, read_kserve(file, {"claim": tmp_path / "models"}))
    assert [each.outcome for each in done[:3]] == ["drafted", "bundle", "revision"]
    policy = yaml.safe_load((folder / "trimtab.yaml").read_text())
    assert policy["rollout"] == {"strategy": "canary", "canary": {"steps": ["10%"]}}
    assert policy["serving"] == {"timeout": "20s", "port": 8085, "grpc_port": 9000}
    assert policy["deploy"]["kubernetes"] == {"cpu": "500m", "memory": "4GiB"}
    read = open_workspace(folder).project.policy  # a draft is a policy
    assert (read.serving.port, read.deploy.kubernetes.memory) == (8085, 4 * 2**30)
    assert set(left_out(done)) == {
        "price-model.model.protocolVersion",
        "price-model.replicas",
        "price-model.resources.nvidia.com/gpu",
        "price-model.serviceAccountName",
    }
    np.testing.assert_allclose(scores(folder, "price_model"), booster().predict(ROWS), atol=1e-5)
    again = brought(folder, read_kserve(file, {"claim": tmp_path / "models"}))
    assert {each.outcome for each in again} == {"policy", "known", "left out"}


@pytest.mark.parametrize("uri", ["s3://bucket/price", "pvc://claim/price", "gs://bucket/price"])
def test_a_model_that_is_elsewhere_is_listed_and_the_policy_is_drafted(tmp_path: Path, uri: str) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(SERVICE.replace("STORAGE", uri))
    done = brought(tmp_path / "drafted", read_kserve(file, {}))
    assert f"{uri} (lightgbm) is not on this machine" in left_out(done)["price-model.storageUri"]
    assert not (tmp_path / "drafted" / "definitions.py").exists()
    assert done[0].detail.endswith("definitions.py is yours to write")


def test_files_that_are_none_are_told(tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    for text, error, said in (
        ("kind: Deployment", UsageError, "holds Deployment; expected an InferenceService"),
        ("a: [", DataError, "not YAML"),
        (SERVICE.replace("v1beta1", "v1alpha2"), DataError, "apiVersion is 'serving.kserve.io/v1alpha2'; expected"),
        (SERVICE.replace("predictor", "predictr"), DataError, "expected metadata.name and spec.predictor"),
    ):
        file.write_text(text)
        with pytest.raises(error, match=said):
            read_kserve(file, {})
    with pytest.raises(UsageError, match="cannot be read"):
        read_kserve(tmp_path / "none.yaml", {})
    with pytest.raises(UsageError, match="not there; expected a model"):
        read_bento(tmp_path / "none", tmp_path)
    (tmp_path / "x.bentomodel").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_bento(tmp_path / "x.bentomodel", tmp_path)


def test_a_store_of_bento_becomes_bundles_and_lists_the_rest(tmp_path: Path) -> None:
    store = tmp_path / "models"
    bento_model(store, "price-model", "lightgbm", saved_model__txt=booster().model_to_string().encode())
    bento_model(store, "risk", "sklearn", saved_model__pkl=b"pickle")
    mlflow_folder(bento_model(store, "other", "mlflow") / "mlflow_model")
    folder = tmp_path / "drafted"
    done = brought(folder, read_bento(store, tmp_path / "scratch"))
    assert {each.detail for each in done if each.outcome == "bundle"} == {"price_model/1", "other/1"}
    said = left_out(done)
    assert "saved_model.pkl: is a pickle without columns" in said["risk:v1"]
    assert said["price-model:v1.labels"].startswith('{"team":"risk"}')
    for name in ("price_model", "other"):
        np.testing.assert_allclose(scores(folder, name), booster().predict(ROWS), atol=1e-5)


def test_an_exported_model_and_the_settings_of_a_bento(tmp_path: Path) -> None:
    place = bento_model(tmp_path / "m", "price", "lightgbm", saved_model__txt=booster().model_to_string().encode())
    archive = tmp_path / "price.bentomodel"
    with tarfile.open(archive, "w:xz") as made:
        made.add(place, arcname=".")
    done = typed("import", "bento", archive, "--into", tmp_path / "one", check=False)
    assert done.returncode == 1, done.stderr  # labels were left out
    assert "bundle     price: price/1" in done.stdout
    config = {
        "resources": {"cpu": "4", "memory": "2Gi", "gpu": 1},
        "traffic": {"timeout": 10, "concurrency": 5},
        "workers": 3,
    }
    about = {"service": "service:Price", "services": [{"name": "Price", "config": config}], "docker": {"distro": "x"}}
    (tmp_path / "bento").mkdir()
    (tmp_path / "bento" / "bento.yaml").write_text(yaml.safe_dump(about))
    found = brought(tmp_path / "two", read_bento(tmp_path / "bento", tmp_path / "s"))
    policy = yaml.safe_load((tmp_path / "two" / "trimtab.yaml").read_text())
    assert policy["serving"] == {"workers": 3, "timeout": "10s"}
    assert policy["deploy"]["kubernetes"] == {"cpu": "4", "memory": "2GiB"}
    assert set(left_out(found)) == {
        "Price.resources.gpu",
        "Price.traffic.concurrency",
        "bento.yaml: docker",
        "bento.yaml: service",
    }


def test_commands_say_what_is_wrong(tmp_path: Path) -> None:
    for arguments, said in (
        (("import", "mlflw", "x"), "no such action. Did you mean 'mlflow'?"),
        (("import", "bento", tmp_path, "--mount", "a=b"), "--mount belongs to: trimtab import kserve"),
        (("import", "kserve", "x.yaml", "--mount", "a"), "--mount a: expected CLAIM=FOLDER"),
        (("import", "bento", tmp_path), "holds no model.yaml, bento.yaml or bentofile.yaml"),
    ):
        done = typed(*arguments, "-p", tmp_path / "p", check=False)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
