"""PyTorch modules: trained, exported and checked like any other model, where PyTorch is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trimtab.definitions.models import Task
from trimtab.errors import StageError
from trimtab.training.convert import convert
from trimtab.training.forms import choose
from trimtab.training.torch_modules import is_module, module_scores

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 4)).astype(np.float32)


def network(*last: Any, width: int = 1) -> Any:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, width), *last
    )


def test_other_objects_are_no_modules() -> None:
    assert not is_module(object())
    assert not is_module(np.zeros(3))


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_module_serves_as_a_graph(task: Task) -> None:
    torch = pytest.importorskip("torch")
    module = network(torch.nn.Sigmoid()) if task == "binary" else network()
    assert is_module(module)
    form = choose(module, X, task=task, features=tuple("abcd"))
    assert (form.runtime, set(form.files)) == ("onnx", {"model.onnx"})
    np.testing.assert_allclose(form.scorer.score(X[:1]), module_scores(module, X[:1], task), rtol=1e-5)
    np.testing.assert_allclose(form.scorer.score(X[:7]), module_scores(module, X[:7], task), rtol=1e-5)
    assert convert(module, task=task, features=4) == form.files["model.onnx"], "the same bytes again"


def test_a_module_that_flattens_its_answer_serves_too() -> None:
    torch = pytest.importorskip("torch")
    form = choose(network(torch.nn.Flatten(0)), X, task="regression", features=tuple("abcd"))
    assert form.scorer.score(X[:3]).shape == (3,)


def test_a_missing_sigmoid_is_suspected() -> None:
    with pytest.raises(StageError, match="is a sigmoid missing at its end"):
        choose(network(), X, task="binary", features=tuple("abcd"))


def test_several_numbers_a_row_are_refused() -> None:
    with pytest.raises(StageError, match=r"Sequential gave shape \(400, 3\) for 400 rows; expected one number a row"):
        choose(network(width=3), X, task="regression", features=tuple("abcd"))


def test_a_module_that_onnx_cannot_hold_serves_as_torchscript() -> None:
    # given a module that solves an equation for each call, for which ONNX has no operator
    torch = pytest.importorskip("torch")

    class Solved(torch.nn.Module):  # type: ignore[name-defined, misc]  # PyTorch has no types here
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.Parameter(torch.eye(4) + 0.1)

        def forward(self, X: Any) -> Any:
            return torch.linalg.solve(self.weights, X.T).sum(0)

    module = Solved()
    form = choose(module, X, task="regression", features=tuple("abcd"))
    assert (form.runtime, set(form.files)) == ("torchscript", {"model.pt"})
    np.testing.assert_allclose(form.scorer.score(X), module_scores(module, X, "regression"), rtol=1e-5)
