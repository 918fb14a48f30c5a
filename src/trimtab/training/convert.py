"""Converts a fitted estimator to an ONNX graph; the same estimator gives the same bytes.

The graph has one input "X", float32 (rows, features). A binary or multiclass model has an output "probabilities",
float32 (rows, classes), and an anomaly model an output "anomaly_score", float32 (rows, 1).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from trimtab.definitions.models import Task
from trimtab.errors import MissingExtra, StageError, TrimtabError
from trimtab.metric_catalog import of_models
from trimtab.tasks import ANOMALY_SCORE, RULES
from trimtab.training.canonical import canonical_bytes
from trimtab.training.graph_trees import correct_trees, inner_objects
from trimtab.training.linear_graphs import linear_graph
from trimtab.training.torch_modules import export_module, is_module

OPSETS = {"": 18, "ai.onnx.ml": 3}
"""Operator sets of the graph, fixed so that a newer converter writes the same graph."""
ONNXMLTOOLS_OPSET = 15
"""The newest operator set that onnxmltools supports for trees."""
DECISION = "scores"
"""Output of the graph of an outlier detector: its decision_function."""
SUPPORTED = "scikit-learn estimators and pipelines, LightGBM, XGBoost, CatBoost, linear statsmodels, PyTorch modules"


def convert(estimator: Any, *, task: Task, features: int) -> bytes:
    """Return the serialized graph of a fitted estimator. features: the number of its inputs.

    Raises StageError naming the type if it cannot be converted, MissingExtra if the converter is not installed.
    """
    library = type(estimator).__module__.partition(".")[0]
    converters: dict[str, Callable[[Any, Task, int], Any]] = {
        "sklearn": _convert_sklearn,
        "lightgbm": _convert_lightgbm,
        "xgboost": _convert_xgboost,
        "catboost": _convert_catboost,
        "statsmodels": linear_graph,
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
    if task == "anomaly":
        _add_anomaly_score(graph, estimator)
    return _serialize(graph, task)


def _convert_sklearn(estimator: Any, task: Task, features: int) -> Any:
    # imported here, because they take seconds to import
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    for register in (each for library, each in _INSIDE.items() if _holds(estimator, library)):
        _expect_onnxmltools()
        register()
    return convert_sklearn(
        estimator,
        name="trimtab",
        initial_types=[("X", FloatTensorType([None, features]))],
        options={"zipmap": False} if RULES[task].confidence is not None else None,
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
        **({"zipmap": False} if RULES[task].confidence is not None else {}),
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


def _add_anomaly_score(graph: Any, estimator: Any) -> None:
    """Add -score_samples to the graph of an outlier detector, which has its decision_function as the output "scores".

    decision_function is score_samples - offset_. Raises StageError for a graph without that output.
    """
    # imported here, because it takes seconds to import
    from onnx import TensorProto, helper

    detector = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    outputs = {output.name: output for output in graph.graph.output}
    if DECISION not in outputs or not hasattr(detector, "offset_"):
        raise StageError(
            f"the ONNX graph of {type(detector).__name__} has the outputs {list(outputs)}, no '{DECISION}'"
        )
    offset = helper.make_tensor("offset", TensorProto.FLOAT, [1], [float(np.asarray(detector.offset_).ravel()[0])])
    graph.graph.initializer.append(offset)
    graph.graph.node.append(helper.make_node("Add", [DECISION, "offset"], ["score_samples"], "score_samples"))
    graph.graph.node.append(helper.make_node("Neg", ["score_samples"], [ANOMALY_SCORE], ANOMALY_SCORE))
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info(ANOMALY_SCORE, TensorProto.FLOAT, [None, 1]))


def _convert_catboost(estimator: Any, task: Task, features: int) -> Any:
    # imported here, because only projects that use CatBoost have it
    import catboost
    import onnx

    with TemporaryDirectory(prefix="trimtab-") as folder:
        own, graph = Path(folder) / "model.cbm", Path(folder) / "model.onnx"
        estimator.save_model(str(own), format="cbm")
        copy = catboost.CatBoost()
        copy.load_model(str(own), format="cbm")
        about = copy.get_metadata()
        named = RULES[task].confidence is not None
        width = len(estimator.classes_) if named else 1
        if named:  # the exporter takes classes as whole numbers only
            classes = json.loads(about["class_params"])
            numbers = list(range(width))
            about["class_params"] = json.dumps({**classes, "class_label_type": "Integer", "class_to_label": numbers})
        copy.save_model(str(graph), format="onnx")
        model = onnx.load(str(graph))
    nodes, outputs = model.graph.node, model.graph.output
    nodes[0].input[0] = model.graph.input[0].name = "X"
    if named:
        del nodes[1:]  # ZipMap
        nodes[0].output[1] = "probabilities"
    del outputs[:]
    kind = onnx.TensorProto.FLOAT
    outputs.append(onnx.helper.make_tensor_value_info(nodes[0].output[-1], kind, [None, width]))
    return model


def _holds(estimator: Any, library: str) -> bool:
    return any(type(inner).__module__.partition(".")[0] == library for inner in inner_objects(estimator))


@cache
def _register_lightgbm() -> None:
    """Let skl2onnx convert estimators of LightGBM inside of pipelines."""
    from lightgbm import LGBMClassifier, LGBMRegressor
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

    _register(LGBMClassifier, LGBMRegressor, convert_lightgbm)


@cache
def _register_xgboost() -> None:
    """Let skl2onnx convert estimators of XGBoost inside of pipelines."""
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from xgboost import XGBClassifier, XGBRegressor

    _register(XGBClassifier, XGBRegressor, convert_xgboost)


def _register(classifier: Any, regressor: Any, converter: Any) -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator

    update_registered_converter(
        classifier,
        f"Trimtab{classifier.__name__}",
        shape_calculator.calculate_linear_classifier_output_shapes,
        converter,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    update_registered_converter(
        regressor,
        f"Trimtab{regressor.__name__}",
        shape_calculator.calculate_linear_regressor_output_shapes,
        converter,
    )


_INSIDE: dict[str, Callable[[], None]] = {"lightgbm": _register_lightgbm, "xgboost": _register_xgboost}


def _expect_onnxmltools() -> None:
    if find_spec("onnxmltools") is None:
        raise MissingExtra("onnxmltools", "boosting")


def _serialize(graph: Any, task: Task) -> bytes:
    outputs = [output.name for output in graph.graph.output]
    wanted = RULES[task].graph_output
    if wanted is not None and wanted not in outputs:
        raise StageError(f"the ONNX graph has the outputs {outputs}; {of_models([task])} must have '{wanted}'")
    return canonical_bytes(graph)
