"""Converts a fitted estimator to an ONNX graph; the same estimator gives the same bytes.

The graph has one input "X", float32 (rows, features), and for a binary model an output "probabilities",
float32 (rows, 2).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from trimtab.definitions.models import Task
from trimtab.errors import MissingExtra, StageError, TrimtabError
from trimtab.training.canonical import canonical_bytes
from trimtab.training.graph_trees import correct_trees
from trimtab.training.torch_modules import export_module, is_module

OPSETS = {"": 18, "ai.onnx.ml": 3}
"""Operator sets of the graph, fixed so that a newer converter writes the same graph."""
ONNXMLTOOLS_OPSET = 15
"""The newest operator set that onnxmltools supports for trees."""
SUPPORTED = "scikit-learn estimators and pipelines, LightGBM, XGBoost, PyTorch modules"


def convert(estimator: Any, *, task: Task, features: int) -> bytes:
    """Return the serialized graph of a fitted estimator. features: the number of its inputs.

    Raises StageError naming the type if it cannot be converted, MissingExtra if the converter is not installed.
    """
    library = type(estimator).__module__.partition(".")[0]
    converters: dict[str, Callable[[Any, Task, int], Any]] = {
        "sklearn": _convert_sklearn,
        "lightgbm": _convert_lightgbm,
        "xgboost": _convert_xgboost,
    }
    if is_module(estimator):
        return _serialize(export_module(estimator, task, features), task)
    if library not in converters:
        raise StageError(
            f"{type(estimator).__module__}.{type(estimator).__qualname__} cannot be converted to ONNX; "
            f"supported: {SUPPORTED}"
        )
    try:
        graph = converters[library](estimator, task, features)
    except TrimtabError:
        raise
    except Exception as error:  # converters raise errors without a common base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StageError(f"{type(estimator).__name__} cannot be converted to ONNX: {reason}") from error
    correct_trees(graph, estimator)
    return _serialize(graph, task)


def _convert_sklearn(estimator: Any, task: Task, features: int) -> Any:
    # imported here, because they take seconds to import
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    return convert_sklearn(
        estimator,
        name="trimtab",
        initial_types=[("X", FloatTensorType([None, features]))],
        options={"zipmap": False} if task == "binary" else None,
        target_opset=OPSETS,
    )


def _convert_lightgbm(estimator: Any, task: Task, features: int) -> Any:
    _expect_onnxmltools()
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    return convert_lightgbm(
        estimator,
        name="trimtab",
        initial_types=[("X", FloatTensorType([None, features]))],
        target_opset=ONNXMLTOOLS_OPSET,
        **({"zipmap": False} if task == "binary" else {}),
    )


def _convert_xgboost(estimator: Any, task: Task, features: int) -> Any:
    _expect_onnxmltools()
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    return convert_xgboost(
        estimator,
        name="trimtab",
        initial_types=[("X", FloatTensorType([None, features]))],
        target_opset=ONNXMLTOOLS_OPSET,
    )


def _expect_onnxmltools() -> None:
    if find_spec("onnxmltools") is None:
        raise MissingExtra("onnxmltools", "boosting")


def _serialize(graph: Any, task: Task) -> bytes:
    outputs = [output.name for output in graph.graph.output]
    if task == "binary" and "probabilities" not in outputs:
        raise StageError(f"the ONNX graph has the outputs {outputs}; a binary model must have 'probabilities'")
    return canonical_bytes(graph)
