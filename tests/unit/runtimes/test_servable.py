"""What a folder holds: a bundle whose digests hold, or an MLflow model of any flavour, or a refusal that says why."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
import yaml
from sklearn.ensemble import IsolationForest

from kit.waiting import PATIENCE_S
from trimtab.bundle.limits import FLOAT32_MAX, ask_scorer
from trimtab.errors import DataError
from trimtab.runtimes.opening import open_scorer
from trimtab.runtimes.pyfunc import PyfuncScorer
from trimtab.runtimes.servable import describe
from trimtab.testing.bundles import lookup_graph, pack_bundle, plain_spec

Save = Callable[[str], Path]
ROWS = np.array([[0.0, 1.0, 0.5], [1.0, -1.0, 2.0]], dtype=np.float32)


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    found = yaml.safe_load((folder / "MLmodel").read_text())
    edit(found)
    (folder / "MLmodel").write_text(yaml.safe_dump(found))


@pytest.fixture
def copy(mlflow_model: Save, tmp_path: Path) -> Save:
    """Copy an MLflow model, to be changed."""
    return lambda name: Path(shutil.copytree(mlflow_model(name), tmp_path / name))


def test_a_bundle_is_described_by_its_own_spec(tmp_path: Path) -> None:
    spec = plain_spec("delay", ["a"])
    pack_bundle(tmp_path / "bundle", lookup_graph([0.5]), spec)
    assert describe(tmp_path / "bundle") == spec


def test_a_bundle_whose_digests_do_not_hold_is_not_described(tmp_path: Path) -> None:
    pack_bundle(tmp_path / "bundle", lookup_graph([0.5]), plain_spec("delay", ["a"]))
    (tmp_path / "bundle" / "bundle.json").write_bytes(b"{}")
    with pytest.raises(DataError, match=r"bundle\.json: content differs"):
        describe(tmp_path / "bundle")
    (tmp_path / "bundle" / "MANIFEST.json").unlink()
    with pytest.raises(DataError, match="without a manifest is not loaded"):
        describe(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("name", "runtime", "file", "task"),
    [
        ("onnx", "onnx", "model.onnx", "binary"),
        ("lightgbm", "lightgbm", "model.lgb", "binary"),
        ("lightgbm-estimator", "skops", "model.skops", "regression"),
        ("xgboost", "xgboost", "model.ubj", "binary"),
        ("skops", "skops", "model.skops", "binary"),
        ("skops-regression", "skops", "model.skops", "regression"),
    ],
)
def test_mlflow_models_are_served_from_their_safest_file(
    name: str, runtime: str, file: str, task: str, mlflow_model: Save
) -> None:
    # given a model as MLflow saved it
    folder = mlflow_model(name)
    spec = describe(folder)
    assert (spec.runtime, spec.model_file, spec.task) == (runtime, file, task)
    assert (spec.model, spec.features, spec.request_columns) == (name, ("a", "b", "c"), ("a", "b", "c"))
    assert spec.request_types == {"a": "number", "b": "number", "c": "number"}
    assert bool(spec.runtime_reason) == (runtime != "onnx")

    # then it scores as MLflow says, nothing being trusted
    scores = open_scorer(folder, spec).score(ROWS)
    assert scores.shape == (2,)
    if name == "skops-regression":
        import mlflow.sklearn

        np.testing.assert_allclose(scores, mlflow.sklearn.load_model(str(folder)).predict(ROWS), rtol=1e-6)


@pytest.mark.parametrize("name", ["pickle", "pyfunc"])
def test_what_must_be_unpickled_needs_trust(name: str, mlflow_model: Save) -> None:
    spec = describe(mlflow_model(name))
    assert spec.runtime == "pyfunc"
    with pytest.raises(DataError, match=r"add to trimtab\.yaml: serving: \{ trust: \[pyfunc\] \}"):
        open_scorer(mlflow_model(name), spec)


def test_a_pickled_classifier_gives_probabilities_and_is_asked_what_it_refuses(mlflow_model: Save) -> None:
    folder = mlflow_model("pickle")
    spec = describe(folder, trust=["pyfunc"])
    assert spec.task == "binary"
    scorer = open_scorer(folder, spec, trust=["pyfunc"])
    try:
        twin = mlflow_model("skops")
        np.testing.assert_allclose(scorer.score(ROWS), open_scorer(twin, describe(twin)).score(ROWS), rtol=1e-6)
        assert not scorer.in_process
        # and it is known to take neither missing values nor infinity
        found = ask_scorer(scorer, spec.features)
        assert found.no_null == ("a", "b", "c")
        assert dict(found.highest) == dict.fromkeys(("a", "b", "c"), FLOAT32_MAX)
    finally:
        assert isinstance(scorer, PyfuncScorer)
        process = psutil.Process(scorer.pid)
        del scorer

    # and its process ends when nobody needs it any more
    assert psutil.wait_procs([process], timeout=PATIENCE_S)[1] == []


def test_nothing_is_unpickled_while_a_folder_is_described(copy: Save, tmp_path: Path) -> None:
    # given a pickle that leaves a file behind
    class Evil:
        def __reduce__(self) -> Any:
            return (exec, (f"open({str(tmp_path / 'was-here')!r}, 'w').close()",))

    folder = copy("pickle")
    (folder / "model.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match="loaded by unpickling"):
        open_scorer(folder, describe(folder))
    change(folder, lambda found: found["flavors"]["sklearn"].update(serialization_format="skops"))
    with pytest.raises(DataError, match="not a skops file"):
        describe(folder)
    assert not (tmp_path / "was-here").exists()


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "..\\outside"])
def test_a_file_outside_of_the_folder_is_refused(name: str, copy: Save) -> None:
    folder = copy("skops")
    (folder.parent / "outside").write_bytes((folder / "model.skops").read_bytes())
    change(folder, lambda found: found["flavors"]["sklearn"].update(pickled_model=name))
    with pytest.raises(DataError, match="leads outside the folder"):
        describe(folder)


def test_links_in_a_model_folder_are_refused(copy: Save) -> None:
    folder = copy("skops")
    (folder / "model.skops").rename(folder.parent / "elsewhere")
    (folder / "model.skops").symlink_to(folder.parent / "elsewhere")
    with pytest.raises(DataError, match=r"model\.skops: .*this is a link or a device"):
        describe(folder)


def test_without_a_signature_it_says_how_to_log_one(copy: Save) -> None:
    folder = copy("skops")
    change(folder, lambda found: found.pop("signature"))
    with pytest.raises(DataError, match="no signature, so its columns are unknown; log it with signature="):
        describe(folder)


def test_inputs_that_are_no_numbers_are_named(copy: Save) -> None:
    folder = copy("onnx")
    change(folder, lambda found: found["signature"].update(inputs='[{"type": "string", "name": "carrier"}]'))
    with pytest.raises(DataError, match="column 'carrier' is string; expected one of double"):
        describe(folder)


def test_a_tensor_signature_names_its_columns_by_place(copy: Save) -> None:
    folder = copy("skops")
    tensor = '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]'
    change(folder, lambda found: found["signature"].update(inputs=tensor))
    assert describe(folder).features == ("f0", "f1", "f2")
    change(
        folder, lambda found: found.update(metadata={"trimtab": {"features": ["x", "y", "z"]}, "task": "regression"})
    )
    spec = describe(folder)
    assert (spec.features, spec.task) == (("x", "y", "z"), "regression")
    change(folder, lambda found: found["signature"].update(inputs=tensor.replace("[-1, 3]", "[-1, 8, 8]")))
    with pytest.raises(DataError, match=r"shape \[-1, 8, 8\]; expected one \(rows, n\)"):
        describe(folder)


def test_other_flavours_are_named(copy: Save) -> None:
    folder = copy("skops")
    change(folder, lambda found: found.update(flavors={"spark": {}}))
    with pytest.raises(DataError, match="its flavours are spark; expected one of onnx"):
        describe(folder)


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"{unbalanced", b"flavors: 3", b"\x00\xff"])
def test_what_is_no_mlmodel_says_so(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_bytes(content)
    with pytest.raises(DataError, match=r"MLmodel: (not YAML|it lists no flavours)"):
        describe(tmp_path)


def test_what_is_no_folder_or_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder; expected a bundle or an MLflow model"):
        describe(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"is .* an MLflow model\?"):
        describe(tmp_path)


def test_a_model_of_three_classes_is_multiclass(copy: Save) -> None:
    from sklearn.linear_model import LogisticRegression
    from skops.io import dump

    folder = copy("skops")
    dump(LogisticRegression().fit(np.eye(3), ["low", "mid", "top"]), folder / "model.skops")
    spec = describe(folder)
    assert (spec.task, spec.classes) == ("multiclass", ("low", "mid", "top"))
    assert open_scorer(folder, spec).score(ROWS).shape == (2, 3)


def test_a_graph_of_three_classes_is_multiclass(copy: Save) -> None:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    folder, rows = copy("onnx"), np.eye(3, dtype=np.float32)
    graph = to_onnx(LogisticRegression().fit(rows, [0, 1, 2]), rows, options={"zipmap": False})
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    spec = describe(folder)
    assert (spec.task, spec.classes) == ("multiclass", ("0", "1", "2"))
    assert np.allclose(open_scorer(folder, spec).score(ROWS).sum(axis=1), 1, atol=1e-5)


def test_an_outlier_detector_decides_as_it_does_itself(copy: Save) -> None:
    from skops.io import dump

    folder = copy("skops")
    random = np.random.default_rng(0)
    detector = IsolationForest(n_estimators=10, contamination=0.1, random_state=0).fit(random.normal(size=(200, 3)))
    dump(detector, folder / "model.skops")
    spec = describe(folder)
    rows = np.concatenate([random.normal(size=(50, 3)), random.normal(6, 1, size=(5, 3))]).astype(np.float32)
    flagged = open_scorer(folder, spec).score(rows) > spec.threshold
    assert spec.task == "anomaly"
    assert (flagged == (detector.predict(rows) < 0)).all()
    assert flagged[-5:].all()


def test_a_graph_that_gives_labels_is_no_regression(copy: Save) -> None:
    # given a classifier that was converted with its usual dictionary of probabilities
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    folder, rows = copy("onnx"), np.eye(3, dtype=np.float32)
    graph = to_onnx(LogisticRegression().fit(rows, [0, 1, 1]), rows)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(
        DataError, match=r"needs an output 'probabilities'.* nor is it a regression: .*'output_label' is"
    ):
        describe(folder)


def test_a_task_can_be_told(mlflow_model: Save) -> None:
    assert describe(mlflow_model("pickle"), task="binary").task == "binary"
    assert msgspec.json.decode(msgspec.json.encode(describe(mlflow_model("skops")))) is not None


def test_an_mlflow_folder_s_estimator_is_asked_what_it_refuses(mlflow_model: Callable[[str], Path]) -> None:
    # given a logistic regression, which takes neither missing values nor infinity
    folder = mlflow_model("skops")
    spec = describe(folder)
    found = ask_scorer(open_scorer(folder, spec), spec.features)
    assert found.no_null == ("a", "b", "c")
    assert dict(found.highest) == dict.fromkeys(("a", "b", "c"), FLOAT32_MAX)
