"""Valid bodies of every protocol over HTTP, damaged at random: read, or refused with a reason."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.core.feedback import Label
from trimtab.serving.protocols import feedback
from trimtab.serving.protocols.mlflow import scoring
from trimtab.serving.protocols.v2.request import decode as decode_v2
from trimtab.serving.requests import InferenceRequest, Refused
from trimtab.serving.web.asgi import inflate

FRAME = pd.DataFrame({"carrier": ["AA", None], "distance": [100.5, 200.0], "late": [True, False]})


def binary() -> tuple[bytes, int]:
    inputs = [triton.InferInput("carrier", [2], "BYTES"), triton.InferInput("X", [2, 2], "FP16")]
    inputs[0].set_data_from_numpy(np.array(["AA", "UA"], object))
    inputs[1].set_data_from_numpy(np.ones((2, 2), np.float16))
    body, length = triton.InferenceServerClient.generate_request_body(inputs, request_id="abc")
    return body, length


def parquet() -> bytes:
    content = io.BytesIO()
    FRAME.to_parquet(content)
    return content.getvalue()


BINARY, LENGTH = binary()
TENSORS = {
    "id": "abc",
    "parameters": {"explain": True, "coverage": 0.9, "content_type": "pd"},
    "inputs": [
        {"name": "carrier", "shape": [2, 1], "datatype": "BYTES", "data": [["AA"], [None]]},
        {
            "name": "raw",
            "shape": [2],
            "datatype": "BYTES",
            "data": ["QQ==", ""],
            "parameters": {"content_type": "base64"},
        },
        {"name": "number", "shape": [2], "datatype": "INT8", "data": [1, -1]},
    ],
    "outputs": [{"name": "label", "parameters": {"binary_data": True}}],
}
SPLIT = {"dataframe_split": {"columns": ["a", "b"], "index": [0], "data": [[1, "x"]]}, "params": {"coverage": 0.5}}
LABELS = {
    "labels": [{"id": "a", "label": 1, "known_at": "2026-02-01T00:00:00Z", "model": "delay"}, {"id": "b", "label": 0}]
}

Decoder = Callable[[bytes], Any]
DECODERS: list[tuple[str, bytes, Decoder]] = [
    ("tensors", msgspec.json.encode(TENSORS), decode_v2),
    ("binary", BINARY, lambda body: decode_v2(body, str(LENGTH))),
    ("split", msgspec.json.encode(SPLIT), lambda body: scoring.decode(body, "application/json")),
    (
        "records",
        b'{"inputs":' + FRAME.to_json(orient="records").encode() + b"}",
        lambda body: scoring.decode(body, "application/json"),
    ),
    ("csv", FRAME.to_csv().encode(), lambda body: scoring.decode(body, "text/csv", {"carrier": "text"})),
    ("parquet", parquet(), lambda body: scoring.decode(body, "application/vnd.apache.parquet")),
    ("labels", msgspec.json.encode(LABELS), feedback.decode),
    (
        "label lines",
        b'{"id":"a","label":1}\n{"id":"b","label":0.5}\n',
        lambda body: feedback.decode(body, "application/x-ndjson"),
    ),
    ("label table", b"id,label,known_at\na,1,\nb,0,1767225600000000\n", lambda body: feedback.decode(body, "text/csv")),
    ("gzip", gzip.compress(b"abc" * 50, mtime=0), lambda body: inflate(body, b"gzip", 1000)),
]

place = st.integers(0, 10_000)
change = st.one_of(
    st.tuples(st.just("set"), place, st.binary(min_size=1, max_size=2)),
    st.tuples(
        st.just("insert"),
        place,
        st.sampled_from([b"[", b'"', b"0", b"9" * 30, b"null", b"NaN", b"\\ud800", b",", b"\n"]),
    ),
    st.tuples(st.just("cut"), place, st.integers(1, 30)),
    st.tuples(st.just("double"), place, st.integers(1, 60)),
)


def damaged(body: bytes, changes: list[tuple[str, int, Any]]) -> bytes:
    for kind, where, what in changes:
        at = where % (len(body) + 1)
        if kind == "set":
            body = body[:at] + what + body[at + len(what) :]
        elif kind == "insert":
            body = body[:at] + what + body[at:]
        elif kind == "cut":
            body = body[:at] + body[at + what :]
        else:
            body = body[: at + what] + body[at:]
    return body


@pytest.mark.parametrize(("body", "decode"), [pytest.param(*rest, id=name) for name, *rest in DECODERS])
def test_the_body_itself_is_read(body: bytes, decode: Decoder) -> None:
    assert decode(body)


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize(("body", "decode"), [pytest.param(*rest, id=name) for name, *rest in DECODERS])
@given(changes=st.lists(change, min_size=1, max_size=4))
def test_a_damaged_body_is_read_or_refused(body: bytes, decode: Decoder, changes: list[tuple[str, int, Any]]) -> None:
    try:
        found = decode(damaged(body, changes))
    except Refused as error:
        refused = error
    else:
        check(found)
        return
    assert 400 <= refused.status < 500
    str(refused).encode()  # an error has to fit into an answer


def check(found: Any) -> None:
    """See that what was read can be worked with."""
    if isinstance(found, tuple):
        found = found[0]
    if isinstance(found, InferenceRequest):
        assert all(len(values) == found.rows for values in found.columns.values())
        assert found.features is None or len(found.features) == found.rows
        assert found.rows < 1000
    if isinstance(found, list):
        assert all(isinstance(label, Label) for label in found)
