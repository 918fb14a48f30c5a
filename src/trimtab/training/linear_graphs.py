"""Builds the ONNX graph of a linear model of statsmodels: a weighted sum of the features, through the inverse link.

The graph computes in float64, as statsmodels does. Which results are such models is a table of link functions; the
parity check compares the graph with `results.predict`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from trimtab.definitions.models import Task
from trimtab.errors import StageError
from trimtab.runtimes.python_objects import is_results

OPSET = 18
LINKS = {"Logit": "logit", "Poisson": "log", "NegativeBinomial": "log", "NegativeBinomialP": "log"}
"""Link functions of discrete models, by class; other models have one only in their family (GLM), or are linear."""
LINEAR = ("OLS", "WLS", "GLS", "GLSAR", "RLM", "QuantReg")


def linear_graph(results: Any, task: Task, features: int) -> Any:
    """Return the onnx.ModelProto of results. Raises StageError for results that are no linear model of the features."""
    # imported here, because it takes a while to import
    from onnx import TensorProto, helper, numpy_helper

    link, model = _link(results), results.model
    names = list(model.exog_names)
    weights = np.asarray(results.params, dtype=np.float64).ravel()[: len(names)]
    constant = 0.0
    if len(names) == features + 1 and "const" in names:
        place = names.index("const")
        constant, weights = float(weights[place]), np.delete(weights, place)
    if len(weights) != features:
        raise StageError(f"{_kind(results)} has {len(weights)} parameters for {features} features")
    values = {"weights": weights.reshape(-1, 1), "constant": np.array([[constant]]), "one": np.array([[1.0]])}
    nodes = [
        helper.make_node("Cast", ["X"], ["exact"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["exact", "weights"], ["sum"]),
        helper.make_node("Add", ["sum", "constant"], ["linear"]),
        *INVERSE[link](helper.make_node),
    ]
    name, width = ("probabilities", 2) if task == "binary" else ("variable", 1)
    if task == "binary":
        nodes.append(helper.make_node("Sub", ["one", "mean"], ["other"]))
        nodes.append(helper.make_node("Concat", ["other", "mean"], [name], axis=1))
    else:
        nodes.append(helper.make_node("Identity", ["mean"], [name]))
    graph = helper.make_graph(
        nodes,
        "trimtab",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None, width])],
        [numpy_helper.from_array(value, key) for key, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def _link(results: Any) -> str:
    kind = type(results.model).__name__ if is_results(results) else ""
    if kind == "GLM":
        found = type(results.model.family.link).__name__.lower()
    else:
        found = "identity" if kind in LINEAR else LINKS.get(kind, "")
    if found not in INVERSE:
        raise StageError(f"{_kind(results)} cannot be converted to ONNX: it is no linear model with a known link")
    return found


def _kind(results: Any) -> str:
    return f"{type(results).__name__} of {type(getattr(results, 'model', None)).__name__}"


def _logistic(node: Callable[..., Any]) -> list[Any]:
    return [
        node("Neg", ["linear"], ["minus"]),
        node("Exp", ["minus"], ["odds"]),
        node("Add", ["odds", "one"], ["whole"]),
        node("Div", ["one", "whole"], ["mean"]),
    ]


INVERSE: dict[str, Callable[[Callable[..., Any]], list[Any]]] = {
    "identity": lambda node: [node("Identity", ["linear"], ["mean"])],
    "inversepower": lambda node: [node("Div", ["one", "linear"], ["mean"])],
    "log": lambda node: [node("Exp", ["linear"], ["mean"])],
    "logit": _logistic,
    "sqrt": lambda node: [node("Mul", ["linear", "linear"], ["mean"])],
}
"""Link function -> the nodes that turn the sum into the mean."""
