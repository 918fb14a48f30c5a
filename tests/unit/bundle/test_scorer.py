"""The scorer: probabilities and values out of real graphs, or a refusal that names the file."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trimtab.bundle import Scorer
from trimtab.errors import DataError

WEIGHTS = np.array([[0.5], [-2.0], [1.0]], dtype=np.float32)


def graph(*, task: str, output: str = "") -> bytes:
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
    constants = [
        onnx.numpy_helper.from_array(WEIGHTS, "weights"),
        onnx.numpy_helper.from_array(np.ones(1, dtype=np.float32), "one"),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3])]
    outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, [None, width])]
    made = helper.make_graph(nodes, "test", inputs, outputs, constants)
    opset = [helper.make_opsetid("", 17)]
    content: bytes = helper.make_model(made, opset_imports=opset, ir_version=9).SerializeToString()
    return content


@pytest.fixture
def rows() -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).normal(size=(50, 3)).astype(np.float32)


def test_a_binary_graph_gives_the_probability_of_yes(rows: np.ndarray[Any, Any]) -> None:
    scores = Scorer(graph(task="binary"), "binary").score(rows)
    assert (scores.shape, scores.dtype) == ((50,), np.float64)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-(rows @ WEIGHTS)[:, 0])), rtol=1e-5)


def test_a_regression_graph_gives_its_value(rows: np.ndarray[Any, Any]) -> None:
    scores = Scorer(graph(task="regression"), "regression").score(rows)
    assert (scores.shape, scores.dtype) == ((50,), np.float64)
    np.testing.assert_allclose(scores, (rows @ WEIGHTS)[:, 0], rtol=1e-5)


def test_a_row_scores_alike_alone_and_among_others(rows: np.ndarray[Any, Any]) -> None:
    scorer = Scorer(graph(task="binary"), "binary")
    assert [scorer.score(rows[n : n + 1])[0] for n in range(len(rows))] == scorer.score(rows).tolist()


def test_no_rows_have_no_scores() -> None:
    assert Scorer(graph(task="binary"), "binary").score(np.empty((0, 3), dtype=np.float32)).shape == (0,)


def test_a_bundle_folder_is_opened(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    (tmp_path / "model.onnx").write_bytes(graph(task="binary"))
    assert Scorer.open(tmp_path, "binary").score(rows).shape == (50,)


def test_a_folder_without_a_graph_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model\.onnx: no such file"):
        Scorer.open(tmp_path, "binary")


def test_a_damaged_graph_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(graph(task="binary")[:40])
    with pytest.raises(DataError, match=r"model\.onnx: ONNX Runtime cannot load it"):
        Scorer.open(tmp_path, "binary")


def test_a_binary_graph_needs_probabilities() -> None:
    with pytest.raises(DataError, match=r"needs an output 'probabilities'; it has \['scores'\]"):
        Scorer(graph(task="binary", output="scores"), "binary")
