"""One request in every form of the Open Inference Protocol: JSON, JSON with bytes, gRPC with values and with bytes.

Whatever is asked, good or not, all four are understood alike, and come to the same scores or the same kind of refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import service_pb2

from trimtab.serving.core.loaded_bundle import LoadedBundle, load_bundle
from trimtab.serving.core.vectorizer import NumericColumns
from trimtab.serving.orders import BundleOrder
from trimtab.serving.protocols.grpc.messages import MESSAGES
from trimtab.serving.protocols.grpc.service import CODES
from trimtab.serving.protocols.grpc.tensors import CONTENTS
from trimtab.serving.protocols.grpc.tensors import decode as decode_grpc
from trimtab.serving.protocols.v2.binary import DTYPES
from trimtab.serving.protocols.v2.request import decode as decode_v2
from trimtab.serving.requests import MAX_ID, InferenceRequest, Refused
from trimtab.testing.bundles import pack_bundle, plain_spec
from unit.serving.protocols.grpc.caller import Caller

NAN = float("nan")
MISSING = [("delay", "9"), ("dealy", None)]
"""Models and versions that are not there."""
STATUSES = {grpc.StatusCode.INTERNAL: 500} | {code: status for status, code in reversed(CODES.items())}
"""gRPC's status -> the HTTP status that it stands for; the first where there are several."""
LENGTH = "inference-header-content-length"


@dataclass(frozen=True)
class Given:
    """One input of a request. values: flat."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: tuple[Any, ...]
    told: str | None = None
    """Datatype that the request tells when it is not the true one."""

    def blob(self) -> bytes:
        """Return the values as bytes."""
        if self.datatype == "BYTES":
            texts = [value.encode() for value in self.values]
            return b"".join([len(text).to_bytes(4, "little") + text for text in texts])
        if self.datatype == "BF16":
            return _halves(self.values).astype("<u2").tobytes()
        return np.array(self.values, DTYPES[self.datatype]).tobytes()

    @property
    def head(self) -> dict[str, Any]:
        """What every form tells of it."""
        return {"name": self.name, "datatype": self.told or self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True)
class Asked:
    """One request, in no form yet."""

    inputs: tuple[Given, ...]
    id: str | None = None
    outputs: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    model: str = "delay"
    version: str | None = None

    def body(self, inputs: list[dict[str, Any]]) -> bytes:
        """Return the JSON of a body."""
        found: dict[str, Any] = {"inputs": inputs, "parameters": self.parameters}
        if self.id is not None:
            found["id"] = self.id
        if self.outputs:
            found["outputs"] = [{"name": name} for name in self.outputs]
        return msgspec.json.encode(found)

    def as_json(self) -> bytes:
        """Return the body whose tensors are JSON; null is what is not a number."""
        return self.body(
            [{**one.head, "data": [None if value != value else value for value in one.values]} for one in self.inputs]
        )

    def as_binary(self) -> tuple[bytes, str]:
        """Return the body whose tensors are bytes, and the length of its JSON."""
        blobs = [one.blob() for one in self.inputs]
        head = self.body(
            [
                {**one.head, "parameters": {"binary_data_size": len(blob)}}
                for one, blob in zip(self.inputs, blobs, strict=True)
            ]
        )
        return head + b"".join(blobs), str(len(head))

    def as_message(self, make: Any, *, raw: bool) -> Any:
        """Return the message. make: its class."""
        message = make(
            model_name=self.model,
            model_version=self.version or "",
            id=self.id or "",
            inputs=[one.head if raw else {**one.head, "contents": _contents(one)} for one in self.inputs],
            outputs=[{"name": name} for name in self.outputs],
            raw_input_contents=[one.blob() for one in self.inputs] if raw else [],
        )
        for name, value in self.parameters.items():
            kind = {bool: "bool", int: "int64", float: "double", str: "string"}[type(value)]
            setattr(message.parameters[name], f"{kind}_param", value)
        return message

    @property
    def typed(self) -> bool:
        """Whether gRPC has a field for all values: for 16-bit floats it has none."""
        return all(one.datatype not in ("FP16", "BF16") for one in self.inputs)


def _halves(values: Sequence[float]) -> np.ndarray[Any, Any]:
    """Return the upper halves of numbers as FP32."""
    return np.asarray(np.array(values, np.float32).view(np.uint32) >> 16)


def _contents(one: Given) -> dict[str, Any]:
    values = [value.encode() for value in one.values] if one.datatype == "BYTES" else list(one.values)
    return {CONTENTS[one.datatype]: values}


# --- what may be asked

AWKWARD = [0, 1, 2, -1, 2**24 + 1, 2**53 + 1, 2**60 + 2**36 + 1, 2**63 - 1, -(2**63), 2**64 - 1]
"""Integers that lose something on the way to a float."""


def numbers(datatype: str) -> st.SearchStrategy[Any]:
    if datatype == "BYTES":
        return st.text(max_size=5)
    if datatype == "BOOL":
        return st.booleans()
    if datatype == "BF16":
        return numbers("FP32").map(lambda value: float((_halves([value]).astype("<u4") << 16).view("<f4")[0]))
    if datatype.startswith("FP"):
        # JSON has no word for infinity
        return st.floats(width=int(datatype[2:]), allow_infinity=False) | st.sampled_from([NAN, 0.0, 1.0, -0.0])  # type: ignore[arg-type]  # 16, 32 or 64
    info = np.iinfo(datatype.lower())
    low, high = int(info.min), int(info.max)
    return st.integers(low, high) | st.sampled_from([value for value in AWKWARD if low <= value <= high])


@st.composite
def tensors(draw: st.DrawFn, name: str, rows: int) -> Given:
    datatype = draw(st.sampled_from([*DTYPES, "BF16", "BYTES"]))
    width = draw(st.sampled_from([1, 2, 2, 3])) if name == "X" else 1
    shape = (rows, width) if name == "X" else draw(st.sampled_from([(rows,), (rows, 1)]))
    values = draw(st.lists(numbers(datatype), min_size=rows * width, max_size=rows * width))
    made = Given(name, datatype, shape, tuple(values))
    harm = draw(st.sampled_from(["none"] * 9 + ["shape", "datatype", "cut"]))
    if harm == "shape":
        return replace(made, shape=draw(st.lists(st.integers(-2, 5) | st.just(2**40), max_size=4).map(tuple)))
    if harm == "datatype":
        return replace(made, told=draw(st.sampled_from(["", "fp32", "FP65", "BYTE"])))
    return made if harm == "none" else replace(made, values=made.values[1:])


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    rows = draw(st.sampled_from([0, 1, 1, 2, 3]))
    names = draw(
        st.sampled_from([("row", "wind")] * 4 + [("X",)] * 3 + [("row",), ("wind", "row", "wind"), ("X", "row"), ()])
    )
    return Asked(
        tuple([draw(tensors(name, rows)) for name in names]),
        draw(st.none() | st.text(min_size=1, max_size=8) | st.sampled_from(["x" * MAX_ID, "é" * (MAX_ID + 1)])),
        draw(st.sampled_from([(), (), (), ("label",), ("probability", "label"), ("labels",), ("lower",)])),
        draw(
            st.sampled_from([{}] * 5)
            | st.fixed_dictionaries(
                {},
                optional={
                    "explain": st.booleans() | st.just(1),
                    "coverage": st.sampled_from([0.9, 1.5, 1]),
                    "features": st.sampled_from(["row", "X", "y", ""]),
                    "content_type": st.sampled_from(["np", "pd", "arrow"]),
                    "anything": st.just("else"),
                },
            )
        ),
    )


# --- understood alike


def understood(decode: Callable[[], tuple[InferenceRequest, Any]]) -> Any:
    """Return what was read, down to the types of values and the bits of features; the status of a refusal."""
    try:
        request, wanted = decode()
    except Refused as refused:
        return refused.status
    if not request.rows or (request.features is not None and not request.features.size):
        return 400  # which the gateway says of no rows, and of rows without features
    features: Any = request.features
    if features is not None:
        features = features.shape, np.where(np.isnan(features), np.float32("nan"), features).tobytes()
    columns = repr({name: list(values) for name, values in request.columns.items()})
    names = None if wanted is None else wanted.names
    return request.rows, columns, features, request.request_id, request.explain, request.coverage, names


@pytest.mark.filterwarnings("ignore:overflow encountered")
@given(asked=requests())
@example(asked=Asked((Given("row", "FP32", (2, 1), (NAN, 0.5)), Given("wind", "FP64", (2,), (NAN, 1e300)))))
@example(asked=Asked((Given("X", "FP64", (1, 2), (NAN, 1e300)),)))
@example(asked=Asked((Given("X", "INT64", (1, 1), (2**60 + 2**36 + 1,)),)))
@example(asked=Asked((Given("X", "UINT64", (1, 1), (2**64 - 1,)),)))
@example(asked=Asked((Given("row", "BF16", (2,), (1.5, NAN)), Given("wind", "FP16", (2, 1), (-0.5, NAN)))))
@example(asked=Asked((Given("row", "BYTES", (2,), ("", "\u00e9\0")),), id="\U0001f600"))
@example(asked=Asked((Given("row", "BYTES", (1, 1), ("a",)),), parameters={"features": "row"}))
def test_every_form_is_understood_alike(asked: Asked) -> None:
    make = MESSAGES["ModelInferRequest"]
    found = {
        "JSON": understood(lambda: decode_v2(asked.as_json())),
        "binary": understood(lambda: decode_v2(*asked.as_binary())),
        "raw": understood(lambda: decode_grpc(asked.as_message(make, raw=True))),
    }
    if asked.typed:
        found["typed"] = understood(lambda: decode_grpc(asked.as_message(make, raw=False)))
    assert len(set(found.values())) == 1, found


# --- served alike


def smooth_graph() -> bytes:
    """Return the graph of a model whose score, from 0 to 1, hangs on every bit of both features."""
    nodes = [
        helper.make_node("IsNaN", ["X"], ["missing"]),
        helper.make_node("Where", ["missing", "instead", "X"], ["full"]),
        helper.make_node("Atan", ["full"], ["turned"]),
        helper.make_node("MatMul", ["turned", "weights"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["one"]),
        helper.make_node("Sub", ["whole", "one"], ["zero"]),
        helper.make_node("Concat", ["zero", "one"], ["probabilities"], axis=1),
    ]
    values = {"instead": [0.25], "weights": [[1.0], [-0.5]], "whole": [1.0]}
    graph = helper.make_graph(
        nodes,
        "smooth",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture
def smooth(tmp_path: Path) -> LoadedBundle:
    """The model of smooth_graph, ready to serve."""
    folder = tmp_path / "bundle"
    digest = pack_bundle(folder, smooth_graph(), plain_spec("delay", ["row", "wind"]))
    return load_bundle(BundleOrder("delay/4", "delay", 4, str(folder), digest), NumericColumns)


def by_http(call: Caller, asked: Asked, *, as_bytes: bool) -> Any:
    """Return version, id and outputs of the answer, or the status of the refusal."""
    path = f"/v2/models/{asked.model}" + ("" if asked.version is None else f"/versions/{asked.version}")
    headers, body = {}, asked.as_json()
    if as_bytes:
        body, headers[LENGTH] = replace(asked, parameters={**asked.parameters, "binary_data_output": True}).as_binary()
    # on the loop of the gRPC server: a gateway lives on one
    reply = call.run(call.served.browser._call("POST", f"{path}/infer", [body], headers))
    if reply.status != 200:
        return reply.status
    length = int(reply.headers.get(LENGTH, len(reply.body)))
    found, blob = msgspec.json.decode(reply.body[:length]), reply.body[length:]
    outputs = {}
    for output in found["outputs"]:
        data = output.get("data")
        if data is None:
            size = output["parameters"]["binary_data_size"]
            data, blob = np.frombuffer(blob[:size], DTYPES[output["datatype"]]).tolist(), blob[size:]
        outputs[output["name"]] = output["datatype"], output["shape"], data
    return found["model_version"], asked.id is None or found["id"], list(outputs.items())


def by_grpc(call: Caller, asked: Asked, *, raw: bool) -> Any:
    """Return version, id and outputs of the answer, or the HTTP status that the refusal stands for."""
    try:
        found = call.send("ModelInfer", asked.as_message(service_pb2.ModelInferRequest, raw=raw))
    except grpc.aio.AioRpcError as refused:
        return STATUSES[refused.code()]
    outputs = {}
    for place, output in enumerate(found.outputs):
        if raw:
            data = np.frombuffer(found.raw_output_contents[place], DTYPES[output.datatype]).tolist()
        else:
            data = list(getattr(output.contents, CONTENTS[output.datatype]))
        outputs[output.name] = output.datatype, list(output.shape), data
    return found.model_version, asked.id is None or found.id, list(outputs.items())


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_every_form_is_served_alike(call: Caller, smooth: LoadedBundle, table_of: Any, pack: Any) -> None:
    lookup = pack(5, features=["row", "wind"])  # which fails on rows that it does not know
    call.served.serve(table_of(("champion", smooth, 100), warm=[lookup]))
    places = st.sampled_from([("delay", None)] * 6 + [("delay", "5"), ("delay", "4"), *MISSING])

    @given(asked=requests(), place=places)
    def check(asked: Asked, place: tuple[str, str | None]) -> None:
        asked = replace(asked, model=place[0], version=place[1])
        expected = by_http(call, asked, as_bytes=False)
        others = [
            by_http(call, asked, as_bytes=True),
            *[by_grpc(call, asked, raw=raw) for raw in ((True, False) if asked.typed else (True,))],
        ]
        if place in MISSING:  # of two faults any may be told
            assert {expected, *others} <= {400, 404}
        else:
            assert others == [expected] * len(others)

    check()
