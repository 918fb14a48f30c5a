"""MLflow's scoring client, and requests as SageMaker and Vertex AI send them, against gateway processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server import client as scoring

from clients.gateway import Running, make_stores, running_gateway

ScoringServerClient: Any = scoring.ScoringServerClient  # without types of its own
FRAME = pd.DataFrame({"row": [0, 1], "wind": [7.5, 8.5]})


def make(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("platform")
    make_stores(root)
    return root


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_gateway(make(tmp_path_factory)) as running:
        yield running


@pytest.fixture(scope="module")
def sagemaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway as SageMaker runs it: only the environment says so."""
    with running_gateway(make(tmp_path_factory), TRIMTAB_CONTAINER="sagemaker") as running:
        yield running


@pytest.fixture(scope="module")
def vertex(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway as Vertex AI runs it."""
    with running_gateway(
        make(tmp_path_factory),
        AIP_MODE="PREDICTION",
        AIP_HTTP_PORT="8080",
        AIP_HEALTH_ROUTE="/v1/endpoints/77/deployedModels/5",
        AIP_PREDICT_ROUTE="/v1/endpoints/77/deployedModels/5:predict",
    ) as running:
        yield running


def post(running: Running, path: str, body: Any, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"http://127.0.0.1:{running.http}{path}"
    if isinstance(body, bytes):
        return httpx.post(url, content=body, headers=given)
    return httpx.post(url, json=body, headers=given)


# --- MLflow


@pytest.mark.parametrize("data", [FRAME, FRAME.to_numpy()], ids=["frame", "array"])
@pytest.mark.parametrize("server", ["gateway", "sagemaker"])
def test_mlflow_s_client_scores(request: pytest.FixtureRequest, server: str, data: Any) -> None:
    running: Running = request.getfixturevalue(server)
    client = ScoringServerClient("127.0.0.1", running.http)
    client.wait_server_ready()
    found = client.invoke(data)
    print(f"\nScoringServerClient.invoke({type(data).__name__}) on {server}: {found.to_json()}")
    assert found.get_predictions()[0].tolist() == [0.125, 0.75]


def test_mlflow_s_client_sees_errors(gateway: Running) -> None:
    client = ScoringServerClient("127.0.0.1", gateway.http)
    with pytest.raises(Exception, match=r"error code 400.*BAD_REQUEST.*'wind' is missing") as refused:
        client.invoke(FRAME[["row"]])
    print(f"\nScoringServerClient error: {refused.value}")
    assert client.get_version()


# --- SageMaker


def test_sagemaker_s_health_check(sagemaker: Running) -> None:
    assert httpx.get(f"http://127.0.0.1:{sagemaker.http}/ping").status_code == 200


@pytest.mark.parametrize(
    ("content_type", "body", "accept", "answer"),
    [
        ("text/csv", b"0,7.5\n1,8.5\n", "text/csv", "0.125\n0.75\n"),
        (
            "application/jsonlines",
            b'{"features":[0,7.5]}\n{"features":[1,8.5]}\n',
            "application/jsonlines",
            '{"score":0.125,"predicted_label":0}\n{"score":0.75,"predicted_label":1}\n',
        ),
        (
            "application/json",
            b'{"instances":[{"features":[0,7.5]},{"features":[1,8.5]}]}',
            "application/json",
            '{"predictions":[{"score":0.125,"predicted_label":0},{"score":0.75,"predicted_label":1}]}',
        ),
    ],
)
def test_sagemaker_invokes(sagemaker: Running, content_type: str, body: bytes, accept: str, answer: str) -> None:
    found = post(sagemaker, "/invocations", body, content_type=content_type, accept=accept)
    print(f"\nPOST /invocations {content_type}: {found.status_code} {found.text!r}")
    assert (found.status_code, found.text) == (200, answer)
    assert found.headers["content-type"].startswith(accept)


def test_sagemaker_s_headers(sagemaker: Running) -> None:
    found = post(
        sagemaker,
        "/invocations",
        b"1,8.5",
        content_type="text/csv",
        X_Amzn_SageMaker_Custom_Attributes="trace=7",
        X_Amzn_SageMaker_Inference_Id="flight-7",
        X_Amzn_SageMaker_Target_Model="delay.tar.gz",
        X_Amzn_SageMaker_Target_Variant="challenger",
    )
    print(f"\n{found.status_code} {found.text!r} {dict(found.headers)}")
    assert found.text == "0.875\n"
    assert found.headers["x-amzn-sagemaker-custom-attributes"] == "trace=7"
    assert [row["version"] for row in sagemaker.served() if row["prediction_id"] == "flight-7"] == [2]


# --- Vertex AI


def test_vertex_predicts(vertex: Running) -> None:
    route = "/v1/endpoints/77/deployedModels/5"
    assert httpx.get(f"http://127.0.0.1:{vertex.http}{route}").status_code == 200
    body = {"instances": [{"row": 0, "wind": 7.5}, {"row": 1, "wind": 8.5}], "parameters": {"metadata": True}}
    found = post(vertex, f"{route}:predict", body)
    print(f"\nPOST {route}:predict: {found.status_code} {found.text}")
    assert found.status_code == 200
    assert found.json()["predictions"] == [0.125, 0.75]
    assert found.json()["metadata"]["version"] == "1"
    refused = post(vertex, f"{route}:predict", {"instances": [{"row": 0}]})
    print(f"\n{refused.status_code} {refused.text}")
    assert (refused.status_code, refused.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
