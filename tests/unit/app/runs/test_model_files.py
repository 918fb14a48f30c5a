"""Two packaged models file by file: same bytes, same canonical form, or the parts that differ by name."""

from __future__ import annotations

import json
from pathlib import Path

import cloudpickle
import numpy as np
import onnx
import polars as pl
import skops.io
from onnx import helper, numpy_helper
from sklearn.linear_model import LinearRegression

from trimtab.app.runs.model_files import FileResult, compare_models


def compared(tmp_path: Path, name: str, old: bytes, new: bytes) -> FileResult:
    for side, content in (("old", old), ("new", new)):
        path = tmp_path / side / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (found,) = compare_models(tmp_path / "old", tmp_path / "new")
    return found


def graph(weight: float, node: str = "node") -> bytes:
    value = helper.make_tensor_value_info
    tensor = numpy_helper.from_array(np.array([weight, 2.0, 3.0], np.float32), "w")
    made = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"], name=node)],
        "g",
        [value("x", onnx.TensorProto.FLOAT, [3])],
        [value("y", onnx.TensorProto.FLOAT, [3])],
        [tensor],
    )
    return bytes(helper.make_model(made).SerializeToString())


def test_a_graph_with_other_names_is_the_same_and_one_with_other_weights_says_so(tmp_path: Path) -> None:
    assert compared(tmp_path, "model.onnx", graph(1.0), graph(1.0)).verdict == "same"
    assert compared(tmp_path, "model.onnx", graph(1.0), graph(1.0, "other")).verdict == "same canonical form"
    found = compared(tmp_path, "model.onnx", graph(1.0), graph(1.5))
    assert (found.verdict, found.text) == ("different", "tensor v2: 1 of 3 values differ, by up to 0.5")


def test_an_estimator_names_its_attribute(tmp_path: Path) -> None:
    X = np.arange(6.0).reshape(3, 2)
    old, new = (skops.io.dumps(LinearRegression(fit_intercept=False).fit(X, y)) for y in ([0, 1, 2], [0, 1, 3]))
    found = compared(tmp_path, "model.skops", old, new)
    assert found.verdict == "different"
    assert "coef_: 2 of 2 values differ, by up to" in found.text


def test_a_text_names_its_keys_and_other_files_count_bytes(tmp_path: Path) -> None:
    found = compared(tmp_path, "model.lgb", b"tree\nleaf_value=1 2\nend\n", b"tree\nleaf_value=1 3\nend\n")
    assert found.text == "1 of 3 lines differ (leaf_value)"
    assert compared(tmp_path / "b", "model.ubj", b"abcd", b"abxy").text == "2 of 4 bytes differ"
    assert compared(tmp_path / "c", "model.ubj", b"abcd", b"abc").text == "3 bytes instead of 4"


def test_a_spec_may_name_another_run_and_nothing_else(tmp_path: Path) -> None:
    old, new = ({"run": name, "threshold": 0.5, "reason": f"trimtab_project_{name}.Mean"} for name in ("a", "b"))
    found = compared(tmp_path, "bundle.json", json.dumps(old).encode(), json.dumps(new).encode())
    assert found.verdict == "same canonical form"
    changed = json.dumps({**new, "threshold": 0.4}).encode()
    assert compared(tmp_path, "bundle.json", json.dumps(old).encode(), changed).text.startswith(
        "threshold: 0.4 instead"
    )


def test_rows_are_compared_by_their_values(tmp_path: Path) -> None:
    frame, files = pl.DataFrame({"a": [1.0, float("nan")], "t": ["x", None]}), []
    for place, rows in enumerate((frame, frame, frame.with_columns(a=pl.Series([1.0, 2.0])))):
        path = tmp_path / f"{place}.parquet"
        rows.write_parquet(path, compression="zstd" if place == 0 else "uncompressed")
        files.append(path.read_bytes())
    assert compared(tmp_path / "a", "reference/rows.parquet", files[0], files[1]).verdict == "same canonical form"
    assert compared(tmp_path / "b", "reference/rows.parquet", files[0], files[2]).verdict == "different"


def test_a_pickle_is_the_same_wherever_the_project_lies(tmp_path: Path) -> None:
    def pickled(folder: str, factor: float) -> bytes:
        space: dict[str, object] = {"__name__": f"trimtab_project_{folder}"}
        source = (
            "class Model:\n    def __init__(self, by): self.by = by\n    def predict(self, X): return X * self.by\n"
        )
        exec(compile(source, f"/{folder}/{'x' * len(folder)}/definitions.py", "exec"), space)
        kind = space["Model"]
        assert isinstance(kind, type)
        return bytes(cloudpickle.dumps(kind(factor)))

    assert compared(tmp_path, "model.pkl", pickled("a1", 2.0), pickled("b22", 2.0)).verdict == "same canonical form"
    found = compared(tmp_path, "model.pkl", pickled("a1", 2.0), pickled("b22", 3.0))
    assert found.verdict == "different"
    assert "1 of" in found.text


def test_a_file_that_one_model_lacks_is_named_and_descriptions_are_left_out(tmp_path: Path) -> None:
    for side, names in (("old", ("model.onnx", "MLmodel", "code/definitions.py")), ("new", ("environment.txt",))):
        for name in names:
            path = tmp_path / side / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(side)
    (found,) = compare_models(tmp_path / "old", tmp_path / "new")
    assert (found.name, found.text) == ("model.onnx", "the new model does not have it")
