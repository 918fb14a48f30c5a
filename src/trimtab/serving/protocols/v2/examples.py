"""Bodies of the Open Inference Protocol, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

INFER: dict[str, Any] = {
    "id": "flight-4711",
    "inputs": [
        {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]},
        {"name": "scheduled_at", "shape": [1], "datatype": "BYTES", "data": ["2013-06-01T16:00:00Z"]},
        {"name": "distance", "shape": [1], "datatype": "FP64", "data": [719]},
    ],
}
ANSWER: dict[str, Any] = {
    "model_name": "delay",
    "model_version": "3",
    "id": "flight-4711",
    "parameters": {"role": "champion", "revision": 7, "prediction_ids": ["flight-4711"]},
    "outputs": [
        {"name": "probability", "shape": [1], "datatype": "FP64", "data": [0.25]},
        {"name": "label", "shape": [1], "datatype": "INT64", "data": [0]},
        {"name": "confidence", "shape": [1], "datatype": "FP64", "data": [0.75]},
    ],
}
MODEL: dict[str, Any] = {
    "name": "delay",
    "versions": ["2", "3"],
    "platform": "onnxruntime_onnx",
    "inputs": [
        {"name": "carrier", "datatype": "BYTES", "shape": [-1]},
        {"name": "distance", "datatype": "FP64", "shape": [-1]},
        {
            "name": "scheduled_at",
            "datatype": "BYTES",
            "shape": [-1],
            "parameters": {"optional": True, "content_type": "datetime"},
        },
        {
            "name": "X",
            "datatype": "FP32",
            "shape": [-1, 12],
            "parameters": {"optional": True, "instead_of": "the request columns"},
        },
    ],
    "outputs": [
        {"name": "probability", "datatype": "FP64", "shape": [-1]},
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "confidence", "datatype": "FP64", "shape": [-1]},
    ],
    "parameters": {"version": "3", "task": "binary", "threshold": 0.32, "revision": 7, "roles": {"3": "champion"}},
}
EXPLANATION: dict[str, Any] = {
    "model_name": "delay",
    "prediction_id": "flight-4711",
    "method": "tree_shap",
    "unit": "log_odds",
    "base": -1.25,
    "features": ["distance", "punctuality__mean_late_1d"],
    "contributions": [0.25, -0.5],
}
