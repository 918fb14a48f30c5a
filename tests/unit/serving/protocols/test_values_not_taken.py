"""A value that the model does not take is the client's fault in every protocol, with row and column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from trimtab.bundle.spec import Limits
from trimtab.serving.protocols import kserve
from trimtab.serving.protocols.mlflow import scoring
from trimtab.serving.protocols.platforms import sagemaker, vertex
from trimtab.serving.protocols.v2 import open_inference
from unit.serving.protocols.grpc.caller import Caller, column

if TYPE_CHECKING:
    from unit.serving.conftest import Served
    from unit.serving.protocols.conftest import Ask

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def strict(served: Served, pack: Any, table_of: Any) -> Served:
    """A gateway whose champion takes no missing value."""
    return served.serve(table_of(("champion", pack(2, limits=Limits(no_null=("row",))), 100)))


@pytest.mark.parametrize(
    ("protocol", "path", "body", "headers"),
    [
        (kserve, "/v1/models/delay:predict", {"instances": [{"row": 0}, {"row": None}]}, {}),
        (scoring, "/invocations", {"dataframe_records": [{"row": 0}, {"row": None}]}, JSON),
        (scoring, "/invocations", b'row\n0\n""\n', {"Content-Type": "text/csv"}),
        (sagemaker, "/invocations", {"instances": [{"features": [0]}, {"features": [None]}]}, JSON),
        (sagemaker, "/invocations", b"0\nNaN\n", {"Content-Type": "text/csv"}),
        (vertex, "/predict", {"instances": [[0], [None]]}, {}),
        (
            open_inference,
            "/v2/models/delay/infer",
            {"inputs": [{"name": "row", "shape": [2], "datatype": "FP32", "data": [0, None]}]},
            {},
        ),
        (
            open_inference,
            "/v2/models/delay/infer",
            {"inputs": [{"name": "X", "shape": [2, 1], "datatype": "FP32", "data": [0, None]}]},
            {},
        ),
    ],
)
def test_it_is_told_with_its_row(
    strict: Served, ask: Ask, protocol: Any, path: str, body: Any, headers: dict[str, str]
) -> None:
    answer = ask(protocol.routes(strict.gateway), "POST", path, body, headers)
    assert answer.status == 400, answer.body
    assert b"'row', row 1 has no value, and model 'delay' version 2 takes no missing value there" in answer.body
    assert strict.rows() == []


def test_it_is_told_by_grpc(strict: Served) -> None:
    call = Caller(strict)
    try:
        code, text = call.refusal(
            "ModelInfer", model_name="delay", inputs=[column("row", "FP64", [2], fp64_contents=[0, float("nan")])]
        )
    finally:
        call.close()
    assert code.name == "INVALID_ARGUMENT"
    assert text.startswith("column 'row', row 1 has no value")
