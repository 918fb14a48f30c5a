"""Writes inference responses of the Open Inference Protocol: JSON and binary tensors.

A binary model gives `probability`, `label` and `confidence`, a multiclass model `label`, `probabilities` of shape
[rows, classes] and `confidence`, a regression `prediction`, an anomaly model `anomaly_score` and `label`. A label is
BYTES where classes have names. Intervals come as `lower` and `upper`, explanations as `contributions` of shape
[rows, features]. Parameters of an output name its classes or features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from trimtab.errors import nearest
from trimtab.metric_catalog import Task
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.protocols.v2 import binary as binary
from trimtab.serving.protocols.v2.request import Wanted
from trimtab.serving.requests import InferenceRequest, InferenceResponse, Refused

OUTPUTS: Mapping[Task, tuple[str, ...]] = {
    "binary": ("probability", "label", "confidence"),
    "multiclass": ("label", "probabilities", "confidence"),
    "regression": ("prediction",),
    "anomaly": ("anomaly_score", "label"),
}
INTERVAL = ("lower", "upper")
CONTRIBUTIONS = "contributions"


class OutputTensor(msgspec.Struct, gc=False):
    """One output. data: in order of rows; without it, its `binary_data_size` bytes are behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    data: Sequence[float | str] | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET


class ResponseBody(msgspec.Struct, gc=False):
    """The body of an inference response.

    parameters: role, revision, prediction_ids; versions when rows were answered by several; fallback, why another
    than the routed version answered.
    """

    model_name: str
    model_version: str
    id: str
    parameters: dict[str, Any]
    outputs: list[OutputTensor]


_encode = msgspec.json.Encoder().encode


def encode(response: InferenceResponse, wanted: Wanted | None = None) -> bytes:
    """Write an inference response as JSON alone."""
    return _encode(_body(response, selected(response, wanted)))


def encode_binary(response: InferenceResponse, wanted: Wanted) -> tuple[bytes, int]:
    """Write an inference response with bytes behind its JSON; return it and the length of the JSON."""
    outputs, blobs = selected(response, wanted), []
    for output in outputs:
        if wanted.as_bytes(output.name) and not isinstance(output.data, UnsetType):
            blob = binary.pack(output.data, output.datatype)
            output.data = UNSET
            own = {} if isinstance(output.parameters, UnsetType) else output.parameters
            output.parameters = {**own, "binary_data_size": len(blob)}
            blobs.append(blob)
    head = _encode(_body(response, outputs))
    return b"".join([head, *blobs]), len(head)


def check_outputs(names: Sequence[str] | None, table: ModelTable, request: InferenceRequest | None = None) -> None:
    """Raise Refused for a requested output that does not exist. Checked before scoring.

    names: None for all there are. request: what else was asked for; without it, anything may have been.
    """
    there = list(OUTPUTS[table.spec.task])
    if request is None or request.coverage is not None:
        there += INTERVAL
    if request is None or request.explain:
        there.append(CONTRIBUTIONS)
    for name in names or ():
        if name in there:
            continue
        if name in INTERVAL:
            raise Refused(400, f"output '{name}' is an interval's; ask for one with parameters.coverage, such as 0.9")
        if name == CONTRIBUTIONS:
            raise Refused(400, f"output '{name}' is an explanation; ask for one with parameters.explain")
        raise Refused(400, f"model '{table.model}' has no output '{name:.60}'.{nearest(name[:60], there)}")


def _body(response: InferenceResponse, outputs: list[OutputTensor]) -> ResponseBody:
    parameters: dict[str, Any] = {
        "role": response.role,
        "revision": response.revision,
        "prediction_ids": response.prediction_ids,
    }
    if response.versions is not None:
        parameters["versions"] = response.versions
    if response.fallback is not None:
        parameters["fallback"] = response.fallback
    return ResponseBody(response.model, str(response.version), response.request_id, parameters, outputs)


def selected(response: InferenceResponse, wanted: Wanted | None) -> list[OutputTensor]:
    """Return the outputs that were asked for, in that order."""
    outputs = _outputs(response)
    if wanted is None or wanted.names is None:
        return outputs
    by_name = {output.name: output for output in outputs}
    return [by_name[name] for name in wanted.names if name in by_name]


def datatype(output: str, classes: Sequence[str]) -> str:
    """Return the datatype of an output. classes: names of the model's classes, if they have names."""
    return "FP64" if output != "label" else "BYTES" if classes else "INT64"


def _values(response: InferenceResponse, output: str) -> Sequence[float | str] | None:
    if output == "label":
        return response.labels
    if output == "confidence":
        return response.confidences
    if output == "probabilities":
        return list(chain.from_iterable(response.probabilities or ()))
    return response.scores


def _outputs(response: InferenceResponse) -> list[OutputTensor]:
    shape = [len(response.scores)]
    outputs = [
        OutputTensor(name, shape, datatype(name, response.classes), values)
        for name in OUTPUTS[response.task]
        if (values := _values(response, name)) is not None
    ]
    if response.probabilities is not None:
        outputs[1].shape = [*shape, len(response.classes)]
        outputs[1].parameters = {"classes": response.classes}
    if response.lower is not None and response.upper is not None:
        outputs.append(OutputTensor("lower", shape, "FP64", response.lower))
        outputs.append(OutputTensor("upper", shape, "FP64", response.upper))
    explanation = response.explanation
    if explanation is not None:
        outputs.append(
            OutputTensor(
                CONTRIBUTIONS,
                [*shape, len(explanation.features)],
                "FP64",
                list(chain.from_iterable(explanation.contributions)),
                {
                    "features": explanation.features,
                    "base": explanation.base,
                    "method": explanation.method,
                    "unit": explanation.unit,
                },
            )
        )
    return outputs
