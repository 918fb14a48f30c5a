"""Converts an estimator that was fitted on a frame to an ONNX graph with one input a feature.

Texts and categories are string tensors, in which a missing value is the empty text. ONNX has no type for decimals and
times. Whether the graph gives the scores of the estimator is checked afterwards, with missing and unseen values.
"""

from __future__ import annotations

from typing import Any

from trimtab.bundle.typed_matrix import Schema
from trimtab.definitions.models import Task
from trimtab.errors import StageError
from trimtab.training.canonical import canonical_bytes
from trimtab.training.convert import OPSETS
from trimtab.training.graph_trees import correct_trees


def convert_typed(estimator: Any, schema: Schema, *, task: Task) -> bytes:
    """Return the serialized graph. Raises StageError naming the feature or the estimator that cannot be converted."""
    kind = type(estimator)
    if kind.__module__.partition(".")[0] != "sklearn":
        raise StageError(f"an ONNX graph of {kind.__name__} takes numbers alone, and the model takes a frame")
    for name, type_ in schema.types.items():
        if type_ not in ("category", "text", "boolean", "integer"):
            raise StageError(f"ONNX has no type for the {type_} '{name}'")
    # imported here, because they take seconds to import
    from skl2onnx import convert_sklearn
    from skl2onnx.common import data_types as types

    tensors = {
        "category": types.StringTensorType,
        "text": types.StringTensorType,
        "boolean": types.BooleanTensorType,
        "integer": types.Int64TensorType,
    }
    inputs = [
        (name, tensors.get(schema.types.get(name, ""), types.FloatTensorType)([None, 1])) for name in schema.features
    ]
    options = {"zipmap": False} if hasattr(estimator, "predict_proba") else None
    try:
        graph = convert_sklearn(estimator, name="trimtab", initial_types=inputs, options=options, target_opset=OPSETS)
    except Exception as error:  # converters raise errors without a common base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StageError(f"{kind.__name__} cannot be converted to ONNX: {reason}") from error
    correct_trees(graph, estimator)
    return canonical_bytes(graph)
