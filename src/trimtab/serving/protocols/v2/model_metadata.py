"""Describes models in the words of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from trimtab.bundle.spec import Spec
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.protocols.v2.response import INTERVAL, OUTPUTS, datatype
from trimtab.serving.protocols.v2.tensors import FEATURES
from trimtab.serving.requests import Refused
from trimtab.tasks import RULES

EXTENSIONS = ("binary_tensor_data", "parameters", "model_repository", "feedback", "explanation", "interval")
"""Supported extensions of the protocol; the first three have Triton's names."""
OF_KINDS = {
    "number": "FP64",
    "integer": "INT64",
    "boolean": "BOOL",
    **dict.fromkeys(("text", "time", "decimal", "date"), "BYTES"),
}
"""Kind of a request column -> the datatype that holds all of its values."""
PLATFORMS = {
    "onnx": "onnxruntime_onnx",
    "lightgbm": "lightgbm_lightgbm",
    "xgboost": "xgboost_xgboost",
    "catboost": "catboost_catboost",
    "skops": "sklearn_skops",
    "torchscript": "pytorch_torchscript",
    "pyfunc": "mlflow_pyfunc",
    "project": "trimtab_project",
}


class ServerMetadata(msgspec.Struct):
    """The answer of GET /v2."""

    name: str
    version: str
    extensions: tuple[str, ...]


class TensorMetadata(msgspec.Struct, omit_defaults=True):
    """One input or output. -1 in a shape is any number of rows."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    """optional: may be left out; content_type: datetime for ISO 8601 text; instead_of: what it takes the place of."""


class ModelMetadata(msgspec.Struct):
    """The answer of GET /v2/models/{m}[/versions/{v}]."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, Any]


def check_load_parameters(names: Iterable[str]) -> None:
    """Raise Refused (400) when a request to load a model brings a configuration or files."""
    for name in names:
        if name == "config" or name.startswith("file:"):
            raise Refused(400, f"parameter '{name:.60}' is not served; models come from the project's bundles")


def describe(table: ModelTable, version: str | None) -> ModelMetadata:
    """Describe one version of a model, the champion if none is named. Raises Refused (404)."""
    variant = table.variant(version) or table.champion
    spec = variant.bundle.spec
    return ModelMetadata(
        name=table.model,
        versions=[str(number) for number in table.versions],
        platform=PLATFORMS[spec.runtime],
        inputs=inputs_of(spec),
        outputs=outputs_of(spec),
        parameters={
            "version": str(variant.bundle.version),
            "task": spec.task,
            "request_columns": spec.request_columns,
            "features": spec.features,
            **({"feature_types": spec.feature_types} if spec.feature_types else {}),
            "timestamp": spec.timestamp,
            **({"classes": spec.classes} if spec.classes else {}),
            **({} if RULES[spec.task].by_class else {"threshold": spec.threshold}),
            "revision": table.revision,
            "roles": {str(other.bundle.version): other.role for other in table.variants},
        },
    )


def inputs_of(spec: Spec) -> list[TensorMetadata]:
    """Return the tensors that a request may have."""
    needed = [name for name in spec.request_columns if name != spec.timestamp]
    optional = [name for name in (*spec.entity_keys, spec.timestamp) if name not in needed]
    found = [_column(spec, name, optional=False) for name in needed]
    found += [_column(spec, name, optional=True) for name in dict.fromkeys(optional)]
    if spec.feature_types:
        return found
    features = TensorMetadata(
        FEATURES, "FP32", [-1, len(spec.features)], {"optional": True, "instead_of": "the request columns"}
    )
    return [*found, features]


def _column(spec: Spec, name: str, *, optional: bool) -> TensorMetadata:
    kind = spec.request_types.get(name)
    if kind is None:  # packaged without kinds: a column that is a feature as well is a number
        kind = "time" if name == spec.timestamp else "number" if name in spec.features else "text"
    parameters: dict[str, Any] = {"optional": True} if optional else {}
    if kind in ("time", "date"):
        parameters["content_type"] = "datetime"
    return TensorMetadata(name, OF_KINDS.get(kind, "BYTES"), [-1], parameters or None)


def outputs_of(spec: Spec) -> list[TensorMetadata]:
    """Return the tensors of an answer."""
    found = [TensorMetadata(name, datatype(name, spec.classes), [-1]) for name in OUTPUTS[spec.task]]
    for tensor in found:
        if tensor.name == "probabilities":
            tensor.shape, tensor.parameters = [-1, len(spec.classes)], {"classes": spec.classes}
    if spec.calibration is not None:
        found += [TensorMetadata(name, "FP64", [-1], {"asked_by": "parameters.coverage"}) for name in INTERVAL]
    return found
