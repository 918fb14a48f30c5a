"""The examples of docs/protocols.md that HTTP's own protocols do not read: they bring what the model asks for."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from trimtab.definitions.collection import collect
from trimtab.definitions.models import Model
from trimtab.serving.protocols import kserve
from trimtab.serving.protocols.grpc import tensors
from trimtab.serving.protocols.grpc.messages import MESSAGES
from trimtab.serving.protocols.platforms import sagemaker, vertex

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def delay() -> Model:
    """The model of the example."""
    namespace: dict[str, Any] = runpy.run_path(str(ROOT / "examples" / "flights" / "definitions.py"))
    return collect(namespace).model("delay")


def sent(command: str, content_type: str = "application/json") -> bytes:
    """Return the only body that the page sends with a command."""
    found = re.findall(
        rf"^{command}[^\n']*'Content-Type: {content_type}'(?: -H '[^']*')*[ \\\n]*-(?:d|-data-binary) '(.*?)'",
        PAGE,
        re.DOTALL | re.MULTILINE,
    )
    assert len(found) == 1, found
    return str(found[0]).encode()


def test_the_grpc_example_brings_what_the_model_asks_for(delay: Model) -> None:
    (body,) = re.findall(r"^grpcurl [^']*-d '(.*?)'", PAGE, re.DOTALL | re.MULTILINE)
    request, _ = tensors.decode(json_format.Parse(body, MESSAGES["ModelInferRequest"]()))
    assert set(request.columns) == {*delay.request_columns, delay.examples.timestamp}
    assert (request.columns["carrier"], request.columns["scheduled_at"]) == (["UA"], ["2013-06-01T16:00:00Z"])


def test_the_kserve_example_brings_what_the_model_asks_for(delay: Model) -> None:
    request = kserve.decode(sent(r"curl -s \$GATEWAY/v1/models/delay:predict -H"))
    assert set(request.columns) == {*delay.request_columns, delay.examples.timestamp}


@pytest.mark.parametrize(("content_type", "form"), [("text/csv", "csv"), ("application/json", "json")])
def test_the_sagemaker_examples_bring_all_features(delay: Model, content_type: str, form: str) -> None:
    request, found = sagemaker.decode(sent(r"curl -s \$CONTAINER/invocations -H", content_type), content_type)
    assert found == form
    assert request.features is not None
    assert request.features.shape == (1, len(delay.feature_names))


def test_the_vertex_example_brings_what_the_model_asks_for(delay: Model) -> None:
    request, metadata = vertex.decode(sent(r"curl -s \$CONTAINER/predict -H"))
    assert set(request.columns) == {*delay.request_columns, delay.examples.timestamp}
    assert metadata
