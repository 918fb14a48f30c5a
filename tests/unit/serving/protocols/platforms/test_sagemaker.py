"""SageMaker: the forms of its algorithms and SDK, its headers, the answer that Accept asks for."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.endpoints import Answer
from trimtab.serving.protocols.platforms import sagemaker
from trimtab.serving.requests import Refused

if TYPE_CHECKING:
    from unit.serving.conftest import Served
    from unit.serving.protocols.conftest import Ask

TWO = {"predictions": [{"score": 0.1, "predicted_label": 0}, {"score": 0.8, "predicted_label": 1}]}


def npy(values: Any, **options: Any) -> bytes:
    written = io.BytesIO()
    np.save(written, np.array(values, **options))
    return written.getvalue()


def headed(header: str) -> bytes:
    """Return numpy's file with a header of one's own and no data."""
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode()


def scores(answer: Answer) -> list[float]:
    """Return the scores of an answer in any of its forms."""
    assert answer.status == 200, answer.body
    kind = answer.content_type.split(b";")[0]
    if kind == b"text/csv":
        return [float(line) for line in answer.body.decode().splitlines()]
    if kind == b"application/x-npy":
        return list(np.load(io.BytesIO(answer.body)))
    if kind == b"application/jsonlines":
        return [msgspec.json.decode(line)["score"] for line in answer.body.splitlines()]
    found = msgspec.json.decode(answer.body)["predictions"]
    return [row["score"] if isinstance(row, dict) else row for row in found]


@pytest.mark.parametrize(
    ("content_type", "body", "answered"),
    [
        ("text/csv", b"0\n1\n", b"text/csv; charset=utf-8"),
        ("text/csv; charset=utf-8", b"\xef\xbb\xbf0\r\n1", b"text/csv; charset=utf-8"),
        ("text/csv;header=present", b"row\n0\n1\n", b"text/csv; charset=utf-8"),
        ("text/csv", b"row\n0\n1\n", b"text/csv; charset=utf-8"),
        ("application/json", b'{"instances":[{"features":[0]},{"features":[1]}]}', b"application/json"),
        (
            "application/json",
            b'{"instances":[{"data":{"features":{"values":[0]}}},{"features":[1]}]}',
            b"application/json",
        ),
        ("application/json", b"[[0],[1]]", b"application/json"),
        ("application/json", b'[{"row":0},{"row":1}]', b"application/json"),
        ("application/json", b'{"dataframe_split":{"columns":["row"],"data":[[0],[1]]}}', b"application/json"),
        ("application/json", b'{"instances":[{"row":0},{"row":1}]}', b"application/json"),
        ("application/jsonlines", b'{"features":[0]}\n{"features":[1]}\n', b"application/jsonlines"),
        ("application/jsonlines", b'{"row":0}\n\n{"row":1}', b"application/jsonlines"),
        ("application/x-npy", npy([[0.0], [1.0]]), b"application/x-npy"),
        ("application/x-npy", npy([[0], [1]], order="F", dtype="i2"), b"application/x-npy"),
    ],
)
def test_rows_come_in_every_form_and_are_answered_in_it(
    delay: Served, ask: Ask, content_type: str, body: bytes, answered: bytes
) -> None:
    answer = ask(sagemaker.routes(delay.gateway), "POST", "/invocations", body, {"Content-Type": content_type})
    assert scores(answer) == pytest.approx([0.1, 0.8], abs=1e-6)
    assert answer.content_type == answered


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json", b"application/json"),
        ("text/csv, application/json;q=0.5", b"text/csv; charset=utf-8"),
        ("text/html, application/jsonlines;q=0.1", b"application/jsonlines"),
        ("application/x-npy", b"application/x-npy"),
        ("*/*", b"text/csv; charset=utf-8"),
    ],
)
def test_accept_is_respected(delay: Served, ask: Ask, accept: str, content_type: bytes) -> None:
    headers = {"Content-Type": "text/csv", "Accept": accept}
    answer = ask(sagemaker.routes(delay.gateway), "POST", "/invocations", b"0\n1\n", headers)
    assert answer.content_type == content_type
    assert scores(answer) == pytest.approx([0.1, 0.8], abs=1e-6)


def test_named_forms_have_score_and_label(delay: Served, ask: Ask) -> None:
    body = {"instances": [{"features": [0]}, {"features": [1]}]}
    answer = ask(sagemaker.routes(delay.gateway), "POST", "/invocations", body)
    found = msgspec.json.decode(answer.body)["predictions"]
    assert [row["predicted_label"] for row in found] == [0, 1]
    lines = ask(
        sagemaker.routes(delay.gateway), "POST", "/invocations", body, {"Accept": "application/jsonlines"}
    ).body.splitlines()
    assert [msgspec.json.decode(line)["predicted_label"] for line in lines] == [0, 1]


def test_mlflow_s_forms_are_answered_as_mlflow_does(delay: Served, ask: Ask) -> None:
    answer = ask(sagemaker.routes(delay.gateway), "POST", "/invocations", {"inputs": {"row": [0]}})
    assert msgspec.json.decode(answer.body) == {"predictions": pytest.approx([0.1], abs=1e-6)}


def test_headers_of_the_contract(delay: Served, ask: Ask) -> None:
    headers = {
        "Content-Type": "text/csv",
        "X-Amzn-SageMaker-Custom-Attributes": "trace=7",
        "X-Amzn-SageMaker-Inference-Id": "flight-1",
        "X-Amzn-SageMaker-Target-Model": "delay.tar.gz",
        "X-Amzn-SageMaker-Target-Variant": "challenger",
    }
    answer = ask(sagemaker.routes(delay.gateway), "POST", "/invocations", b"0", headers)
    assert scores(answer) == pytest.approx([0.3], abs=1e-6)
    assert dict(answer.headers) == {
        b"x-amzn-sagemaker-custom-attributes": b"trace=7",
        b"x-request-id": b"flight-1",
    }
    assert {row["prediction_id"] for row in delay.rows() if row["served"]} == {"flight-1"}


@pytest.mark.parametrize(("variant", "score"), [("1", 0.6), ("v1", 0.6), ("champion", 0.1), ("AllTraffic", 0.1)])
def test_variants_name_versions_and_roles(delay: Served, ask: Ask, variant: str, score: float) -> None:
    headers = {"Content-Type": "text/csv", "X-Amzn-SageMaker-Target-Variant": variant}
    answer = ask(sagemaker.routes(delay.gateway), "POST", "/invocations", b"0", headers)
    assert scores(answer) == pytest.approx([score], abs=1e-6)


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"),
    [
        (b"0", {"Content-Type": "image/png"}, 415, "content type 'image/png' is not served; expected one of"),
        (b"0", {"Content-Type": "text/csv", "Accept": "image/png"}, 406, "no answer of type 'image/png'"),
        (b"0", {"Content-Type": "text/csv", "Accept": "text/csv;q=0"}, 406, "expected one of"),
        (b"0", {"Content-Type": "text/csv", "X-Amzn-SageMaker-Target-Model": "x.tar.gz"}, 404, "no model 'x'"),
        (b"0", {"Content-Type": "text/csv", "X-Amzn-SageMaker-Target-Variant": "shadow"}, 404, "has no shadow"),
        (b"0", {"Content-Type": "text/csv", "X-Amzn-SageMaker-Target-Variant": "9"}, 404, "has no version '9'"),
        (b"0\n1,2", {"Content-Type": "text/csv"}, 400, "line 1 has 2 values; line 0 has 1"),
        (b"0\nx", {"Content-Type": "text/csv"}, 400, "line 1 holds 'x', which is no number"),
        (b"0\n1_0", {"Content-Type": "text/csv"}, 400, "'1_0', which is no number"),
        (b"", {"Content-Type": "text/csv"}, 400, "no rows"),
        (b"[1", {}, 400, "malformed JSON"),
        (b'{"features":[1]}\n{', {"Content-Type": "application/jsonlines"}, 400, "malformed JSON Lines"),
        (b'{"features":[1]}\n{}', {"Content-Type": "application/jsonlines"}, 400, "line 1 has no features"),
        (b"junk", {"Content-Type": "application/x-npy"}, 400, "malformed numpy file"),
        (npy([[0.0]])[:-3], {"Content-Type": "application/x-npy"}, 400, "malformed numpy file"),
        (npy([[{}]], dtype=object), {"Content-Type": "application/x-npy"}, 400, "expected numbers"),
        (npy([[[0.0]]]), {"Content-Type": "application/x-npy"}, 400, "expected [rows, features]"),
    ],
)
def test_refusals(delay: Served, ask: Ask, body: bytes, headers: dict[str, str], status: int, says: str) -> None:
    answer = ask(sagemaker.routes(delay.gateway), "POST", "/invocations", body, headers)
    error = msgspec.json.decode(answer.body)
    assert (answer.status, says in error["message"]) == (status, True), error


def test_missing_values_are_empty_in_csv() -> None:
    request, form = sagemaker.decode(b"1,,3\n,5,\n", "text/csv")
    assert form == "csv"
    assert request.features is not None
    assert np.array_equal(request.features, [[1, np.nan, 3], [np.nan, 5, np.nan]], equal_nan=True)


@given(
    body=st.binary(max_size=80)
    | st.text('0123456789.,\n"x-e', max_size=40).map(str.encode)
    | st.text('[]{}":,0123456789features data instances\n', max_size=60).map(str.encode)
    | st.binary(max_size=30).map(lambda tail: npy([[1.0, 2.0]])[:-8] + tail)
    | st.tuples(st.sampled_from(["<f8", "|O", "<M8", ["a"], "(9,)f4"]), st.lists(st.integers(-(2**70), 2**70))).map(
        lambda header: headed(f"{{'descr': {header[0]!r}, 'fortran_order': False, 'shape': {tuple(header[1])!r}}}")
    )
    | st.text("{}()[]',:<f8 \n\t\"descrshape0-", max_size=40).map(lambda header: headed(header)),
    kind=st.sampled_from([*sagemaker.KINDS, "text/csv;header=present", ""]),
)
def test_whatever_comes_is_rows_or_refused(body: bytes, kind: str) -> None:
    with suppress(Refused):
        request, _ = sagemaker.decode(body, kind)
        assert request.features is None or (request.features.dtype, len(request.features)) == (np.float32, request.rows)
        assert all(len(column) == request.rows for column in request.columns.values())
