"""Paths, methods, sizes and statuses; whatever comes, the answer is valid or a 4xx."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable, RoutingTable
from trimtab.serving.web.asgi import MOST_UNREAD

if TYPE_CHECKING:
    from unit.serving.conftest import Served

Packer = Callable[..., LoadedBundle]
TableOf = Callable[..., ModelTable]
Body = Callable[..., dict[str, Any]]
INFER = "/v2/models/delay/infer"


@pytest.fixture
def delay(served: Served, pack: Packer, table_of: TableOf) -> Served:
    """A gateway that serves the model "delay", versions 1 to 3 loaded."""
    return served.serve(table_of(("champion", pack(3), 90), ("challenger", pack(2), 10), warm=[pack(1)]))


def test_the_server_describes_itself(delay: Served) -> None:
    found = delay.browser.get("/v2").json()
    assert found["name"] == "trimtab"
    assert found.keys() == {"name", "version", "extensions"}
    assert delay.browser.get("/version").body.decode() == found["version"]


def test_models_are_listed_and_described(delay: Served) -> None:
    assert delay.browser.get("/v2/models").json() == {"models": ["delay"]}
    found = delay.browser.get("/v2/models/delay").json()
    assert found["name"] == "delay"
    assert found["versions"] == ["1", "2", "3"]
    assert found["inputs"] == [
        {"name": "row", "datatype": "FP64", "shape": [-1]},
        {
            "name": "moment",
            "datatype": "BYTES",
            "shape": [-1],
            "parameters": {"optional": True, "content_type": "datetime"},
        },
        {
            "name": "X",
            "datatype": "FP32",
            "shape": [-1, 1],
            "parameters": {"optional": True, "instead_of": "the request columns"},
        },
    ]
    assert [output["name"] for output in found["outputs"]] == ["probability", "label", "confidence"]
    assert found["parameters"]["roles"] == {"3": "champion", "2": "challenger"}
    assert found["parameters"]["request_columns"] == ["row"]
    assert delay.browser.get("/v2/models/delay/versions/2").json()["parameters"]["version"] == "2"
    assert delay.browser.get("/v2/models/delay/versions/9").status == 404


def test_readiness_waits_for_every_model(served: Served, pack: Packer, table_of: TableOf) -> None:
    paths = ("/v2/health/live", "/v2/health/ready", "/ping", "/health", "/v2/models/delay/ready")
    before = [served.browser.get(path).status for path in paths]
    served.serve(table_of(("champion", pack(), 100)))
    after = [served.browser.get(path).status for path in paths]
    assert before == [200, 503, 503, 503, 404]
    assert after == [200] * 5
    assert served.browser.get("/v2/health/ready").json() == {"live": True, "ready": True}
    assert served.browser.get("/v2/models/delay/ready").json() == {"name": "delay", "ready": True}


def test_readiness_says_what_is_wrong(served: Served) -> None:
    served.gateway.swap(RoutingTable({}, {"delay": "revision 1: damaged"}))
    reply = served.browser.get("/v2/health/ready")
    assert (reply.status, reply.json()["errors"]) == (503, {"delay": "revision 1: damaged"})
    assert served.browser.get("/v2/models/delay/ready").status == 503


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v9", 404),
        ("GET", "/v2/", 404),
        ("GET", "/v2/models/", 404),
        ("GET", "/v2/models/dealy", 404),
        ("GET", "/v2/models/delay/versions", 404),
        ("GET", "/v2/models/delay/versions/", 404),
        ("GET", "/v2/models/delay/else", 404),
        ("GET", INFER, 405),
        ("GET", "/v2/models/delay/feedback", 405),
        ("GET", "/invocations", 405),
        ("HEAD", "/v2/models/delay/ready", 200),
        ("DELETE", "/v2/models/delay", 405),
        ("POST", "/v2", 405),
        ("POST", "/v2/models/delay", 405),
        ("POST", "/v2/models/delay/ready", 405),
        ("POST", "/v2/models/delay/versions/3/feedback", 404),
        ("POST", "/nothing", 404),
    ],
)
def test_paths_and_methods(delay: Served, method: str, path: str, status: int) -> None:
    reply = delay.browser.get(path, method)
    assert reply.status == status
    assert status == 200 or reply.json().keys() == {"error"} or path == "/invocations"
    assert ("allow" in reply.headers) == (status == 405)


def test_an_unknown_model_is_told_the_nearest_name(delay: Served, infer_body: Body) -> None:
    reply = delay.browser.post("/v2/models/dealy/infer", infer_body(0))
    assert reply.status == 404
    assert "Did you mean 'delay'?" in reply.json()["error"]


def test_outputs_that_do_not_exist_are_refused_before_scoring(delay: Served, infer_body: Body) -> None:
    reply = delay.browser.post(INFER, infer_body(0, outputs=[{"name": "probabilty"}]))
    assert reply.status == 400
    assert "Did you mean 'probability'?" in reply.json()["error"]
    assert delay.rows() == []
    one = delay.browser.post(INFER, infer_body(0, outputs=[{"name": "label"}]))
    assert [output["name"] for output in one.json()["outputs"]] == ["label"]


def test_a_request_without_rows_is_refused(delay: Served, infer_body: Body) -> None:
    assert delay.browser.post(INFER, infer_body()).status == 400
    empty = delay.browser.post("/invocations", {"instances": []}, content_type="application/json")
    assert empty.json() == {"error_code": "BAD_REQUEST", "message": "the request has no rows"}


@pytest.mark.parametrize("wrong", ["", "x" * 201])
def test_an_id_that_names_nothing_is_refused(delay: Served, infer_body: Body, wrong: str) -> None:
    assert delay.browser.post(INFER, infer_body(0, id=wrong)).status == 400


def test_a_body_over_the_limit_is_refused_announced_or_not(delay: Served) -> None:
    large = b'{"inputs":[' + b" " * 100_000 + b"]}"
    announced, chunked = delay.browser.post(INFER, large), delay.browser.chunked(INFER, [large[:60_000]] * 2)
    assert (announced.status, chunked.status) == (413, 413)
    assert "larger than 100000 bytes" in announced.json()["error"]
    assert delay.browser.post("/invocations", large).json()["error_code"] == "BAD_REQUEST"


@pytest.mark.parametrize("announced", [True, False])
def test_a_client_whose_body_is_too_large_is_heard_out(delay: Served, announced: bool) -> None:
    # given a client that sends all of its body before it looks at the answer
    left = [b" " * 60_000] * 5

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": left.pop(), "more_body": bool(left)}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append((message, len(left)))

    async def run() -> None:
        headers = [(b"content-length", b"300000")] if announced else []
        scope = {"type": "http", "method": "POST", "path": INFER, "headers": headers}
        await delay.browser._application(scope, receive, send)

    delay.browser._runner.run(run())
    # then the answer comes when nothing is left unread, as closing then would be a reset to the client
    assert [(message.get("status"), unread) for message, unread in sent] == [(413, 0), (None, 0)]


def test_a_body_far_too_large_is_not_read(delay: Served) -> None:
    asked = []

    async def receive() -> dict[str, Any]:
        asked.append(1)
        return {"type": "http.request", "body": bytes(2**20), "more_body": True}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def run(headers: list[tuple[bytes, bytes]]) -> int:
        asked.clear()
        await delay.browser._application(
            {"type": "http", "method": "POST", "path": INFER, "headers": headers}, receive, send
        )
        return len(asked)

    assert delay.browser._runner.run(run([(b"content-length", b"9000000000")])) == 1
    assert delay.browser._runner.run(run([])) == MOST_UNREAD // 2**20 + 1
    assert [message["status"] for message in sent[::2]] == [413, 413]


def test_a_body_may_come_in_pieces(delay: Served, infer_body: Body) -> None:
    body = msgspec.json.encode(infer_body(1))
    assert delay.browser.chunked(INFER, [body[:5], body[5:20], body[20:]]).status == 200


def test_mlflow_refuses_other_content_types(delay: Served) -> None:
    reply = delay.browser.post("/invocations", b"{}", content_type="application/xml")
    assert reply.status == 415
    assert reply.json()["error_code"] == "BAD_REQUEST"


def test_metrics_count_what_happened(served: Served, pack: Packer, table_of: TableOf, infer_body: Body) -> None:
    delay = served.serve(table_of(("champion", pack(3), 90), ("challenger", pack(2), 10)))
    delay.browser.together([(INFER, infer_body(0, 1)), (INFER, infer_body(9)), (INFER, b"{")])
    delay.browser.post("/v2/models/delay/feedback", {"id": "a", "label": 1})
    delay.gateway.settle()
    text = delay.browser.get("/metrics").body.decode()
    counts = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}
    total = sum(value for name, value in counts.items() if "predictions_total" in name and 'served="true"' in name)
    compared = sum(value for name, value in counts.items() if "predictions_total" in name and 'served="false"' in name)
    assert (total, compared) == (3, 3)
    assert sum(value for name, value in counts.items() if name.startswith("trimtab_prediction_errors")) == 2
    assert counts['trimtab_refused_requests_total{status="400"}'] == 1
    assert counts['trimtab_refused_requests_total{status="500"}'] == 1
    assert counts["trimtab_labels_total"] == 1


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
value = st.sampled_from([0, 1, 0.0, True, None, "1", 10**30, -1.5]) | json
tensor = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["row", "X", "moment"]),
        "shape": st.sampled_from([[1], [2], [1, 1], [2, 1]]),
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES", "BOOL"]),
        "data": st.lists(value, min_size=1, max_size=2),
    }
)
bodies = st.one_of(
    st.fixed_dictionaries({"inputs": st.lists(tensor | json, max_size=3)}, optional={"id": st.text(max_size=3) | json}),
    st.fixed_dictionaries({"instances": st.lists(st.fixed_dictionaries({"row": value, "moment": value}), max_size=3)}),
    st.fixed_dictionaries({"inputs": st.dictionaries(st.sampled_from(["row", "moment"]), st.lists(value, max_size=2))}),
    st.fixed_dictionaries({"id": st.text(max_size=3) | json, "label": value, "known_at": value}),
    json,
    st.binary(max_size=30),
)
paths = st.sampled_from(
    [INFER, "/v2/models/delay/versions/2/infer", "/v2/models/delay/feedback", "/invocations"]
) | st.text(max_size=10).map(lambda text: f"/v2/models/{text}")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(st.tuples(paths, bodies), min_size=1, max_size=4),
    kind=st.sampled_from(["application/json", "text/csv"]),
)
def test_whatever_comes_the_answer_is_valid_or_says_what_is_wrong(
    delay: Served, calls: list[tuple[str, Any]], kind: str
) -> None:
    before = delay.log.read()[0].num_rows
    replies = delay.browser.together(calls, content_type=kind)
    for (path, _), reply in zip(calls, replies, strict=True):
        failed = b"failed to score" in reply.body or b"gave nan" in reply.body  # row 2 of the model has no score
        assert reply.status == 200 or 400 <= reply.status < 500 or failed
        assert reply.status != 200 or "nan" not in str(reply.body).lower() or path.endswith("feedback")
        msgspec.json.decode(reply.body)
    answered = [reply.json() for reply in replies if reply.status == 200]
    ids = [name for found in answered if "parameters" in found for name in found["parameters"]["prediction_ids"]]
    logged = delay.log.read()[0].slice(before).filter(delay.log.read()[0].slice(before)["served"])
    assert set(ids) <= set(logged["prediction_id"].to_pylist())
