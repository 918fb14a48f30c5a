"""The bundle folder: everything a server, an auditor and MLflow look for."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
import yaml
from mlflow.models import Model as Description
from skops.io import get_untrusted_types, load

from trimtab.bundle.manifest import verify
from trimtab.bundle.spec import Limits, read_spec
from trimtab.definitions.models import Model
from trimtab.errors import DataError, StageError
from trimtab.records.training import Run
from trimtab.runtimes.onnx import OnnxScorer
from trimtab.runtimes.opening import open_scorer
from trimtab.testing.bundles import lookup_graph
from trimtab.training.dataset import Frozen
from trimtab.training.environment import capture
from trimtab.training.forms import Form
from trimtab.training.native_files import native_file
from trimtab.training.package import Contents, finish, package
from trimtab.training.parity import Parity


@pytest.fixture
def run(trained: tuple[Run, Path]) -> Run:
    return trained[0]


@pytest.fixture
def folder(trained: tuple[Run, Path], tmp_path: Path) -> Path:
    """The packaged model, copied to where the gates' report is added."""
    copy = tmp_path / "bundle"
    shutil.copytree(trained[1], copy)
    return copy


@pytest.fixture
def contents(model: Model, frozen: Frozen, tmp_path: Path) -> Contents:
    """What a small bundle is made from."""
    (tmp_path / "code").mkdir()
    return Contents(
        model=model,
        run="r",
        version=frozen.version,
        form=Form(
            runtime="onnx",
            model_file="model.onnx",
            reason="",
            files={"model.onnx": b"graph"},
            parity=Parity(rows=0, max_difference=0.0, share_over=0.0),
            scorer=OnnxScorer(lookup_graph([0.5]), "binary"),
            limits=Limits(),
        ),
        holdout=frozen.holdout,
        scores=np.zeros(len(frozen.holdout.y)),
        threshold=0.5,
        project=tmp_path / "code",
        environment=capture(tmp_path / "code"),
        extra={},
    )


def test_the_bundle_says_what_it_is(folder: Path, run: Run, frozen: Frozen) -> None:
    spec = read_spec(folder)
    assert spec.model == "delay"
    assert spec.features == frozen.version.features
    assert spec.threshold == 0.25
    assert (spec.run, spec.dataset) == (run.id, frozen.version.id)
    assert (folder / "code" / "definitions.py").read_text() == "answer = 42\n"
    assert (folder / "reference" / "windows.json").read_bytes() == b"[]"
    needed = [line.partition("==")[0] for line in (folder / "requirements.txt").read_text().splitlines()]
    assert needed == ["mlflow", "numpy", "onnx", "onnxruntime", "pandas"]


def test_reference_rows_carry_the_scores_that_the_graph_gives(folder: Path) -> None:
    rows = pl.read_parquet(folder / "reference" / "rows.parquet")
    spec = read_spec(folder)
    assert rows.columns == [*spec.features, "score"]
    assert 500 < len(rows) <= 1000
    X = rows.select(spec.features).to_numpy().astype(np.float32)
    assert (open_scorer(folder, spec).score(X) == rows["score"].to_numpy()).all()


def test_mlflow_reads_its_description(folder: Path, run: Run) -> None:
    described = Description.load(str(folder))
    assert described.run_id == run.id
    assert described.flavors["python_function"]["loader_module"] == "trimtab_pyfunc"
    assert (folder / described.flavors["python_function"]["code"] / "trimtab_pyfunc.py").is_file()
    assert (folder / described.flavors["python_function"]["env"]["virtualenv"]).is_file()
    assert described.flavors["onnx"]["data"] == "model.onnx"
    assert described.signature is not None
    assert [(one.name, one.type.name) for one in described.signature.inputs] == [
        (name, "double") for name in read_spec(folder).features
    ]
    assert yaml.safe_load((folder / "MLmodel").read_text())["metadata"]["trimtab"]["model"] == "delay"


@pytest.mark.parametrize(("library", "kind"), [("lightgbm", "LGBMClassifier"), ("xgboost", "XGBClassifier")])
def test_mlflow_serves_native_files_too(library: str, kind: str, contents: Contents, tmp_path: Path) -> None:
    # given a bundle in which the native file serves
    train = contents.holdout
    estimator = getattr(pytest.importorskip(library), kind)(n_estimators=5, n_jobs=1).fit(
        train.X, np.nan_to_num(train.y)
    )
    native = native_file(estimator)
    assert native is not None
    target = tmp_path / "target"
    target.mkdir()
    form = replace(contents.form, runtime=native.runtime, model_file=native.name, files={native.name: native.content})
    package(target, replace(contents, form=replace(form, reason="no graph")))

    # then MLflow loads the folder, and gives the same scores as we do
    served: Any = mlflow.pyfunc.load_model(str(target))
    spec = read_spec(target)
    assert (spec.runtime, spec.runtime_reason) == (library, "no graph")
    rows = pd.DataFrame(train.X[:9], columns=spec.features)
    np.testing.assert_allclose(served.predict(rows), open_scorer(target, spec).score(train.X[:9]), rtol=1e-5)


def test_the_estimator_is_read_without_unpickling(folder: Path) -> None:
    types = get_untrusted_types(file=folder / "model.skops")
    assert all(name.startswith(("sklearn.", "numpy.")) for name in types), types
    assert hasattr(load(folder / "model.skops", trusted=types), "predict_proba")


def test_the_background_of_explanations_is_a_plain_array(folder: Path, frozen: Frozen) -> None:
    background = np.load(folder / "reference" / "background.npy", allow_pickle=False)
    assert (background.shape, background.dtype) == ((100, 5), np.float32)
    assert (background[:, None, :] == frozen.holdout.X[None]).all(axis=2).any(axis=1).sum() > 50, (
        "real rows, gaps aside"
    )


def test_a_regression_carries_its_calibration_and_its_request_types(contents: Contents, tmp_path: Path) -> None:
    # given a regression whose scores are all zero
    contents.model.task = "regression"
    target = tmp_path / "target"
    target.mkdir()
    package(target, replace(contents, request_types={"hour": "integer"}))

    # then the half width is a rank of the labels themselves
    spec = read_spec(target)
    assert spec.calibration is not None
    assert spec.calibration.rows == len(contents.holdout.y)
    assert spec.calibration.half_width(0.9) == np.abs(contents.holdout.y).max()
    assert spec.request_types == {"hour": "integer"}


def test_finishing_gives_a_digest_that_any_change_breaks(folder: Path) -> None:
    digest = finish(folder, b'{"verdict": "pass"}')
    assert verify(folder, digest) == digest
    (folder / "gate_report.json").write_text('{"verdict": "fail"}')
    with pytest.raises(DataError, match=r"gate_report.json: content differs"):
        verify(folder, digest)


@pytest.mark.parametrize("name", ["../outside", "/absolute", "model.onnx"])
def test_an_extra_file_stays_inside_and_replaces_nothing(name: str, contents: Contents, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(DataError, match=r"leads outside|is in the bundle already"):
        package(target, replace(contents, extra={name: b""}))
    assert not (tmp_path / "outside").exists()


def test_a_feature_called_score_is_refused(contents: Contents, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    version = msgspec.structs.replace(contents.version, features=("score", *contents.version.features[1:]))
    with pytest.raises(StageError, match="has a feature called 'score'; rename it"):
        package(target, replace(contents, version=version))
