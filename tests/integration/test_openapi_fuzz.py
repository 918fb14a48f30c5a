"""Schemathesis asks a gateway process what its OpenAPI document says, and much that it does not say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier

from clients.gateway import FEATURES, Running, make_stores, running_gateway

pytestmark = pytest.mark.filterwarnings("ignore")  # skl2onnx with protobuf 6, and schemathesis' own
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 15
UNLOADS = "/v2/repository/models/{model}/unload"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway whose models have an answer to every row."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(400, len(FEATURES))).astype(np.float32)
    estimator = HistGradientBoostingClassifier(max_iter=5).fit(X, (X[:, 0] > 0).astype(int))
    graph = to_onnx(estimator, X[:1], options={"zipmap": False}, target_opset=18).SerializeToString()
    root = tmp_path_factory.mktemp("fuzz")
    make_stores(root, {1: graph, 2: graph})
    with running_gateway(root) as running:
        yield running


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
def test_answers_are_as_described(gateway: Running, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{gateway.http}/openapi.json")
    asked: Counter[str] = Counter()
    statuses: Counter[int] = Counter()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        if operation.path == UNLOADS or (mode is GenerationMode.NEGATIVE and operation.method != "post"):
            continue  # after it there would be no model; without a body there is hardly anything to be wrong

        @given(case=operation.as_strategy(generation_mode=mode), here=st.sampled_from([True, True, True, False]))
        @settings(max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck))
        def ask(case: Any, here: bool) -> None:
            if here and "model" in case.path_parameters:
                case.path_parameters["model"] = "delay"
            statuses[case.call_and_validate(checks=CHECKS).status_code] += 1
            asked[case.operation.label] += 1

        with suppress(Unsatisfiable):  # nothing can be wrong with a body that may be anything
            ask()
    print(f"\n{mode.value}: {asked.total()} requests of {len(asked)} operations, statuses {dict(statuses)}")
    assert asked.total() > 100


def test_the_document_is_whole(gateway: Running) -> None:
    found = httpx.get(f"http://127.0.0.1:{gateway.http}/openapi.json").json()
    assert found["openapi"].startswith("3.")
    paths = {"/v2/models/{model}/infer", "/v1/models/{model}:predict", "/invocations", "/v2/models/{model}/feedback"}
    assert paths <= found["paths"].keys()
    assert UNLOADS in found["paths"]
