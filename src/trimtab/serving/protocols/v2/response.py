"""Writes inference responses of the Open Inference Protocol: JSON and binary tensors.

A binary model gives `probability`, `label` and `confidence`, a regression `prediction`; intervals come as `lower`
and `upper`, explanations as `contributions` of shape [rows, features], whose parameters name the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from trimtab.errors import nearest
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.protocols.v2 import binary as binary
from trimtab.serving.protocols.v2.request import Wanted
from trimtab.serving.requests import InferenceRequest, InferenceResponse, Refused

BINARY = ("probability", "label", "confidence")
REGRESSION = ("prediction",)
INTERVAL = ("lower", "upper")
CONTRIBUTIONS = "contributions"
DATATYPES = {"label": "INT64"}
"""Of outputs that are not FP64."""


class OutputTensor(msgspec.Struct, gc=False):
    """One output. data: in order of rows; without it, its `binary_data_size` bytes are behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    data: Sequence[float] | UnsetType = UNSET
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
    there = list(BINARY if table.spec.task == "binary" else REGRESSION)
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


def _outputs(response: InferenceResponse) -> list[OutputTensor]:
    shape = [len(response.scores)]
    if response.task == "binary":
        outputs = [
            OutputTensor("probability", shape, "FP64", response.scores),
            OutputTensor("label", shape, "INT64", response.labels),
        ]
        if response.confidences is not None:
            outputs.append(OutputTensor("confidence", shape, "FP64", response.confidences))
    else:
        outputs = [OutputTensor("prediction", shape, "FP64", response.scores)]
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
