"""Bodies of MLflow's scoring server and their schemas, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

_VALUES = {"type": "array"}
_TABLE = {"type": "object", "additionalProperties": _VALUES}

REQUEST_SCHEMA: dict[str, Any] = {
    "title": "ScoringRequest",
    "description": "Exactly one of dataframe_split, dataframe_records, instances, inputs.",
    "type": "object",
    "properties": {
        "dataframe_split": {
            "type": "object",
            "properties": {
                "columns": {"type": "array", "items": {"type": "string"}},
                "index": _VALUES,
                "data": {"type": "array", "items": _VALUES},
            },
            "required": ["data"],
        },
        "dataframe_records": {"type": "array", "items": {"type": "object"}},
        "instances": {"anyOf": [_VALUES, _TABLE]},
        "inputs": {"anyOf": [_VALUES, _TABLE]},
        "params": {
            "anyOf": [
                {"type": "null"},
                {
                    "type": "object",
                    "properties": {
                        "explain": {"type": "boolean"},
                        "coverage": {
                            "anyOf": [
                                {"type": "null"},
                                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                            ]
                        },
                    },
                },
            ]
        },
    },
    "oneOf": [{"required": [name]} for name in ("dataframe_split", "dataframe_records", "instances", "inputs")],
}
REQUEST: dict[str, Any] = {
    "dataframe_records": [{"carrier": "UA", "scheduled_at": "2013-06-01T16:00:00Z", "distance": 719}]
}
CSV = "carrier,scheduled_at,distance\nUA,2013-06-01T16:00:00Z,719\n"
ANSWER_SCHEMA: dict[str, Any] = {
    "title": "Predictions",
    "type": "object",
    "properties": {
        "predictions": {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "number"},
                    {
                        "type": "object",
                        "properties": {
                            "probability": {"type": "number"},
                            "prediction": {"type": "number"},
                            "anomaly_score": {"type": "number"},
                            "label": {"type": ["string", "integer"]},
                            "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
                            "lower": {"type": "number"},
                            "upper": {"type": "number"},
                            "base": {"type": "number"},
                            "contributions": {"type": "object", "additionalProperties": {"type": "number"}},
                        },
                    },
                ]
            },
        }
    },
    "required": ["predictions"],
}
ANSWER: dict[str, Any] = {"predictions": [0.25]}
