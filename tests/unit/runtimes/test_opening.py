"""The scorer: probabilities and values out of real graphs, or a refusal that names the file."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trimtab.errors import DataError
from trimtab.runtimes.onnx import OnnxScorer
from trimtab.runtimes.opening import open_scorer
from trimtab.testing.bundles import plain_spec

SPEC = plain_spec("delay", ["a", "b", "c"])
WEIGHTS = np.array([[0.5], [-2.0], [1.0]], dtype=np.float32)


def graph(*, task: str, output: str = "", kind: int = TensorProto.FLOAT) -> bytes:
    """Return a logistic (binary) or linear (regression) graph of three features."""
    nodes = [helper.make_node("MatMul", ["X", "weights"], ["z"])]
    result, width = "z", 1
    if task == "binary":
        nodes += [
            helper.make_node("Sigmoid", ["z"], ["yes"]),
            helper.make_node("Sub", ["one", "yes"], ["no"]),
            helper.make_node("Concat", ["no", "yes"], [output or "probabilities"], axis=1),
        ]
        result, width = output or "probabilities", 2
    dtype = np.float32 if kind == TensorProto.FLOAT else np.float64
    constants = [
        onnx.numpy_helper.from_array(WEIGHTS.astype(dtype), "weights"),
        onnx.numpy_helper.from_array(np.ones(1, dtype=dtype), "one"),
    ]
    inputs = [helper.make_tensor_value_info("X", kind, [None, 3])]
    outputs = [helper.make_tensor_value_info(result, kind, [None, width])]
    made = helper.make_graph(nodes, "test", inputs, outputs, constants)
    opset = [helper.make_opsetid("", 17)]
    content: bytes = helper.make_model(made, opset_imports=opset, ir_version=9).SerializeToString()
    return content


@pytest.fixture
def rows() -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).normal(size=(50, 3)).astype(np.float32)


def test_a_binary_graph_gives_the_probability_of_yes(rows: np.ndarray[Any, Any]) -> None:
    scores = OnnxScorer(graph(task="binary"), "binary").score(rows)
    assert (scores.shape, scores.dtype) == ((50,), np.float64)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-(rows @ WEIGHTS)[:, 0])), rtol=1e-5)


def test_a_regression_graph_gives_its_value(rows: np.ndarray[Any, Any]) -> None:
    scores = OnnxScorer(graph(task="regression"), "regression").score(rows)
    assert (scores.shape, scores.dtype) == ((50,), np.float64)
    np.testing.assert_allclose(scores, (rows @ WEIGHTS)[:, 0], rtol=1e-5)


def test_a_row_scores_alike_alone_and_among_others(rows: np.ndarray[Any, Any]) -> None:
    scorer = OnnxScorer(graph(task="binary"), "binary")
    assert [scorer.score(rows[n : n + 1])[0] for n in range(len(rows))] == scorer.score(rows).tolist()


def test_no_rows_have_no_scores() -> None:
    assert OnnxScorer(graph(task="binary"), "binary").score(np.empty((0, 3), dtype=np.float32)).shape == (0,)


def test_a_bundle_folder_is_opened(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    (tmp_path / "model.onnx").write_bytes(graph(task="binary"))
    scorer = open_scorer(tmp_path, SPEC)
    assert scorer.score(rows).shape == (50,)
    assert (scorer.task, scorer.in_process) == ("binary", True)
    scorer.close()


def test_a_folder_without_a_graph_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model\.onnx: no such file"):
        open_scorer(tmp_path, SPEC)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "code/../../outside", "..\\outside", ""])
def test_a_model_file_outside_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_bytes(graph(task="binary"))
    (tmp_path / "bundle").mkdir()
    with pytest.raises(DataError, match="leads outside the folder"):
        open_scorer(tmp_path / "bundle", msgspec.structs.replace(SPEC, model_file=name))


def test_a_table_of_double_is_taken_as_well(rows: np.ndarray[Any, Any]) -> None:
    assert OnnxScorer(graph(task="binary", kind=TensorProto.DOUBLE), "binary").score(rows).shape == (50,)


def test_several_numbers_a_row_are_refused() -> None:
    with pytest.raises(DataError, match="'probabilities' has 2 columns; expected one number a row"):
        OnnxScorer(graph(task="binary"), "regression")


def test_a_damaged_graph_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(graph(task="binary")[:40])
    with pytest.raises(DataError, match=r"model\.onnx: ONNX Runtime cannot load it"):
        open_scorer(tmp_path, SPEC)


def test_a_binary_graph_needs_probabilities() -> None:
    with pytest.raises(DataError, match=r"needs an output 'probabilities'; it has \['scores'\]"):
        OnnxScorer(graph(task="binary", output="scores"), "binary")
