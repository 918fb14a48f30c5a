"""Triton's clients, over HTTP and gRPC, against a gateway process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from clients.gateway import Running, make_stores, running_gateway
from kit.waiting import PATIENCE_S

ROWS = np.array([[0, 7], [1, 8]], dtype=np.float32)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root: Path = tmp_path_factory.mktemp("triton")
    make_stores(root)
    with running_gateway(root) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def triton(request: pytest.FixtureRequest) -> ModuleType:
    """The module of one of the two clients."""
    found: ModuleType = {"http": tritonclient.http, "grpc": tritonclient.grpc}[request.param]
    return found


@pytest.fixture
def client(triton: ModuleType, gateway: Running) -> Iterator[Any]:
    port = gateway.http if triton is tritonclient.http else gateway.grpc
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    yield client
    client.close()


def tensor(triton: ModuleType, name: str, values: Any, datatype: str, **options: Any) -> Any:
    array = np.asarray(values)
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, **options)
    return made


def columns(triton: ModuleType, **options: Any) -> list[Any]:
    """Return one tensor a request column, of several datatypes."""
    return [
        tensor(triton, "row", np.array([[0], [1]], dtype=np.int64), "INT64", **options),
        tensor(triton, "wind", np.array([7.5, 8.5]), "FP64", **options),
        tensor(triton, "carrier", np.array(["UA", "É"], dtype=object), "BYTES", **options),
    ]


def test_health(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("delay")
    assert client.is_model_ready("delay", "2")


def test_metadata(client: Any, triton: ModuleType) -> None:
    as_json = {} if triton is tritonclient.http else {"as_json": True}
    server = client.get_server_metadata(**as_json)
    model = client.get_model_metadata("delay", **as_json)
    print(f"\n{triton.__name__} server: {server}\n{triton.__name__} model: {model}")
    assert server["name"] == "trimtab"
    assert "binary_tensor_data" in server["extensions"]
    assert (model["name"], model["versions"]) == ("delay", ["1", "2"])
    assert {"X", *("row", "wind")} <= {found["name"] for found in model["inputs"]}
    assert {"probability", "label"} <= {found["name"] for found in model["outputs"]}


def test_columns_are_scored_and_logged(client: Any, triton: ModuleType, gateway: Running) -> None:
    name = f"flights-{triton.__name__}"
    found = client.infer("delay", columns(triton), request_id=name)
    print(f"\n{triton.__name__} infer: {found.get_response()}")
    assert found.as_numpy("probability").tolist() == [0.125, 0.75]
    assert found.as_numpy("label").tolist() == [0, 1]
    rows = {row["prediction_id"]: row["entities"] for row in gateway.served()}
    assert dict(rows[f"{name}/0"]) == {"carrier": "UA"}
    assert dict(rows[f"{name}/1"]) == {"carrier": "É"}


def test_all_features_in_one_tensor(client: Any, triton: ModuleType) -> None:
    for version, scores in (("", [0.125, 0.75]), ("2", [0.25, 0.875])):
        found = client.infer("delay", [tensor(triton, "X", ROWS, "FP32")], model_version=version)
        assert found.as_numpy("probability").tolist() == scores


@pytest.mark.parametrize("datatype", ["BOOL", "INT8", "INT32", "UINT8", "UINT64", "FP16", "FP32"])
def test_datatypes(client: Any, triton: ModuleType, datatype: str) -> None:
    kinds = {"BOOL": "?", "INT8": "i1", "INT32": "i4", "UINT8": "u1", "UINT64": "u8", "FP16": "f2", "FP32": "f4"}
    inputs = [tensor(triton, name, np.array([1, 0], dtype=kinds[datatype]), datatype) for name in ("row", "wind")]
    assert client.infer("delay", inputs).as_numpy("probability").tolist() == [0.75, 0.125]


def test_outputs_are_selected(client: Any, triton: ModuleType) -> None:
    outputs = [triton.InferRequestedOutput("label")]
    found = client.infer("delay", [tensor(triton, "X", ROWS, "FP32")], outputs=outputs)
    assert found.as_numpy("label").tolist() == [0, 1]
    assert found.as_numpy("probability") is None


def test_json_tensors_over_http(gateway: Running) -> None:
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{gateway.http}") as client:
        outputs = [
            tritonclient.http.InferRequestedOutput("probability", binary_data=False),
            tritonclient.http.InferRequestedOutput("label", binary_data=True),
        ]
        found = client.infer("delay", columns(tritonclient.http, binary_data=False), outputs=outputs)
        print(f"\nJSON and binary outputs: {found.get_response()}")
        assert found.as_numpy("probability").tolist() == [0.125, 0.75]
        assert found.as_numpy("label").tolist() == [0, 1]
        compressed = client.infer(
            "delay",
            columns(tritonclient.http),
            request_compression_algorithm="gzip",
            response_compression_algorithm="gzip",
        )
        assert compressed.as_numpy("label").tolist() == [0, 1]


def test_the_repository(client: Any, triton: ModuleType) -> None:
    as_json = {} if triton is tritonclient.http else {"as_json": True}

    def index() -> list[dict[str, Any]]:
        found = client.get_model_repository_index(**as_json)
        return list(found["models"]) if isinstance(found, dict) else list(found)

    print(f"\n{triton.__name__} index: {index()}")
    assert [(model["name"], model["version"], model["state"]) for model in index()] == [
        ("delay", "1", "READY"),
        ("delay", "2", "READY"),
    ]
    client.unload_model("delay")
    assert [(model["name"], model["state"], model["reason"]) for model in index()] == [
        ("delay", "UNAVAILABLE", "unloaded")
    ]
    with pytest.raises(InferenceServerException, match="was unloaded"):
        client.infer("delay", [tensor(triton, "X", ROWS, "FP32")])
    client.load_model("delay")
    assert client.is_model_ready("delay")


@pytest.mark.parametrize(
    ("model", "inputs", "http", "grpc", "says"),
    [
        ("dealy", "X", "404", "NOT_FOUND", "Did you mean 'delay'?"),
        ("delay", "Y", "400", "INVALID_ARGUMENT", "is missing"),
    ],
)
def test_errors(client: Any, triton: ModuleType, model: str, inputs: str, http: str, grpc: str, says: str) -> None:
    one = tensor(triton, inputs, ROWS if inputs == "X" else ROWS[:, 0], "FP32")
    with pytest.raises(InferenceServerException) as refused:
        client.infer(model, [one])
    print(f"\n{triton.__name__} error: {refused.value}")
    assert says in refused.value.message()
    assert (http if triton is tritonclient.http else grpc) in str(refused.value.status())


@contextmanager
def paused(gateway: Running) -> Iterator[None]:
    """Let the gateway answer nothing for a while."""
    supervisor = psutil.Process(gateway.pid)
    processes = [supervisor, *supervisor.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_a_client_s_deadline_ends_its_call(gateway: Running) -> None:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{gateway.grpc}") as client:
        inputs = [tensor(tritonclient.grpc, "X", ROWS, "FP32")]
        with paused(gateway), pytest.raises(InferenceServerException, match="Deadline Exceeded"):
            client.infer("delay", inputs, client_timeout=0.2)
        assert client.infer("delay", inputs, client_timeout=PATIENCE_S).as_numpy("label").tolist() == [0, 1]
