"""The Open Inference Protocol over a real gateway: binary tensors, the repository, explanations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tritonclient.http as triton

from trimtab.bundle.calibration import Calibration
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable

if TYPE_CHECKING:
    from unit.serving.conftest import Served

Packer = Callable[..., LoadedBundle]
TableOf = Callable[..., ModelTable]
Body = Callable[..., dict[str, Any]]
INFER = "/v2/models/delay/infer"


@pytest.fixture
def delay(served: Served, pack: Packer, table_of: TableOf) -> Served:
    """A gateway that serves the model "delay", versions 2 and 3 loaded."""
    kinds = {"row": "number", "carrier": "text", "night": "boolean", "number": "integer", "moment": "time"}
    bundle = pack(3, request_columns=("row", "carrier", "night", "number", "moment"), request_types=kinds)
    return served.serve(table_of(("champion", bundle, 100), warm=[pack(2)]))


def test_the_extensions_that_the_server_names_are_there(delay: Served) -> None:
    found = delay.browser.get("/v2").json()["extensions"]
    paths = delay.browser.get("/openapi.json").json()["paths"]
    where = {
        "model_repository": "/v2/repository/index",
        "feedback": "/v2/models/{model}/feedback",
        "explanation": "/v2/models/{model}/predictions/{id}/explanation",
    }
    assert set(found) == {"binary_tensor_data", "parameters", "interval", *where}
    assert where.items() <= {name: path for name in where for path in paths if path == where[name]}.items()


def test_each_column_has_the_datatype_that_holds_its_values(delay: Served) -> None:
    found = delay.browser.get("/v2/models/delay").json()
    assert {each["name"]: each["datatype"] for each in found["inputs"]} == {
        "row": "FP64",
        "carrier": "BYTES",
        "night": "BOOL",
        "number": "INT64",
        "moment": "BYTES",
        "X": "FP32",
    }
    optional = [each["name"] for each in found["inputs"] if each.get("parameters", {}).get("optional")]
    assert optional == ["moment", "X"]
    assert delay.browser.get("/v2/models/delay/versions/2").json()["parameters"]["version"] == "2"


def test_a_regression_with_calibration_offers_intervals(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    names = []
    for version, calibration in enumerate(
        (None, Calibration(rows=100, coverages=(0.8, 0.9), half_widths=(1.0, 2.5))), 1
    ):
        bundle = pack(version, task="regression", scores=(1.0, 2.0), calibration=calibration)
        served.serve(table_of(("champion", bundle, 100)))
        names.append([each["name"] for each in served.browser.get("/v2/models/delay").json()["outputs"]])
    assert names == [["prediction"], ["prediction", "lower", "upper"]]
    body = infer_body(0, outputs=[{"name": "upper"}], parameters={"coverage": 0.9})
    (upper,) = served.browser.post(INFER, body).json()["outputs"]
    assert (upper["name"], upper["data"]) == ("upper", [3.5])


def test_bytes_go_in_and_out(delay: Served) -> None:
    tensor = triton.InferInput("X", [2, 1], "FP32")
    tensor.set_data_from_numpy(np.array([[0], [1]], np.float32))
    body, length = triton.InferenceServerClient.generate_request_body([tensor], request_id="abc")
    reply = delay.browser.post(INFER, body, inference_header_content_length=str(length))
    assert reply.headers["content-type"] == "application/octet-stream"
    found = triton.InferenceServerClient.parse_response_body(
        reply.body, header_length=int(reply.headers["inference-header-content-length"])
    )
    np.testing.assert_allclose(found.as_numpy("probability"), [0.1, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(found.as_numpy("label"), [0, 1])
    assert found.get_response()["parameters"]["prediction_ids"] == ["abc/0", "abc/1"]


def test_outputs_that_nothing_was_asked_of_are_refused(delay: Served) -> None:
    def error(**more: Any) -> str:
        body = {"inputs": [{"name": "X", "shape": [1, 1], "datatype": "FP32", "data": [0]}], **more}
        return str(delay.browser.post(INFER, body).json()["error"])

    assert "ask for one with parameters.coverage" in error(outputs=[{"name": "lower"}])
    assert "ask for one with parameters.explain" in error(outputs=[{"name": "contributions"}])
    assert "no output 'prediction'" in error(outputs=[{"name": "prediction"}])
    assert delay.rows() == []


def test_the_repository_lists_what_is_loaded(delay: Served) -> None:
    reply = delay.browser.post("/v2/repository/index", b"")
    assert reply.json() == [
        {"name": "delay", "version": "2", "state": "READY", "reason": ""},
        {"name": "delay", "version": "3", "state": "READY", "reason": ""},
    ]
    assert delay.browser.post("/v2/repository/index", {"ready": True}).json() == reply.json()
    assert delay.browser.post("/v2/repository/index", {"ready": 5}).status == 400


def test_models_are_loaded_and_unloaded_by_name(delay: Served) -> None:
    loaded = delay.browser.post("/v2/repository/models/delay/load", b"")
    assert (loaded.status, loaded.json()) == (200, {"name": "delay", "load": True})
    assert delay.browser.post("/v2/repository/models/dealy/load", {}).status == 404
    assert delay.browser.post("/v2/repository/models/delay/unload", b"[").status == 400
    files = {"parameters": {"file:1/model.onnx": "AAAA"}}
    refused = delay.browser.post("/v2/repository/models/delay/load", files)
    assert (refused.status, "models come from the project's bundles" in refused.json()["error"]) == (400, True)


def test_a_row_of_several_is_explained_by_its_id(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    bundle = pack(scores=(0.1, 0.8, 0.4), background=((0.0,), (1.0,), (2.0,)))
    served.serve(table_of(("champion", bundle, 100)))
    served.browser.post(INFER, infer_body(0, 1, id="abc"))
    found = served.browser.get("/v2/models/delay/predictions/abc/1/explanation").json()
    assert found.keys() == {"model_name", "prediction_id", "method", "unit", "base", "features", "contributions"}
    assert (found["prediction_id"], found["features"]) == ("abc/1", ["row"])
    assert found["base"] + sum(found["contributions"]) == pytest.approx(0.8)
    missing = served.browser.get("/v2/models/delay/predictions/abc/2/explanation")
    assert (missing.status, missing.json().keys()) == (404, {"error"})
