"""Multiclass and anomaly models in every protocol: answers, labels, the log, fallbacks, refusals."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.protocols import kserve
from trimtab.serving.protocols.mlflow import scoring
from trimtab.serving.protocols.platforms import sagemaker, vertex
from trimtab.serving.worker_options import Fallbacks
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from unit.serving.protocols.grpc.caller import Caller, column

if TYPE_CHECKING:
    from unit.serving.conftest import Served
    from unit.serving.protocols.conftest import Ask

Packer = Callable[..., LoadedBundle]
TableOf = Callable[..., ModelTable]
Body = Callable[..., dict[str, Any]]
INFER = "/v2/models/delay/infer"
CLASSES = ("on time", "late", "very late")
ROWS = [[0.5, 0.25, 0.25], [0.125, 0.25, 0.625], [0.25, 0.5, 0.25]]
LABELS = ["on time", "very late", "late"]
FLAT = [p for row in ROWS for p in row]
NAN = float("nan")


@pytest.fixture
def classes(pack: Packer) -> LoadedBundle:
    """A multiclass bundle whose row n has the probabilities ROWS[n], and no number for the row behind them."""
    return pack(task="multiclass", classes=CLASSES, scores=[*ROWS, [NAN] * 3])


@pytest.fixture
def lateness(served: Served, classes: LoadedBundle, table_of: TableOf) -> Served:
    return served.serve(table_of(("champion", classes, 100)))


@pytest.fixture
def odd(served: Served, pack: Packer, table_of: TableOf) -> Served:
    """A gateway with an anomaly model whose threshold is 0.5."""
    return served.serve(table_of(("champion", pack(task="anomaly", scores=(-3.5, 0.5, 7.25), threshold=0.5), 100)))


@pytest.fixture
def call(lateness: Served) -> Iterator[Caller]:
    caller = Caller(lateness)
    yield caller
    caller.close()


def test_open_inference_gives_label_probabilities_and_confidence(lateness: Served, infer_body: Body) -> None:
    reply = lateness.browser.post(INFER, infer_body(0, 1, 2, id="abc"))
    assert reply.json()["outputs"] == [
        {"name": "label", "shape": [3], "datatype": "BYTES", "data": LABELS},
        {
            "name": "probabilities",
            "shape": [3, 3],
            "datatype": "FP64",
            "data": FLAT,
            "parameters": {"classes": list(CLASSES)},
        },
        {"name": "confidence", "shape": [3], "datatype": "FP64", "data": [0.5, 0.625, 0.5]},
    ]
    described = lateness.browser.get("/v2/models/delay").json()
    assert described["parameters"]["classes"] == list(CLASSES)
    assert [(one["name"], one["datatype"], one["shape"]) for one in described["outputs"]] == [
        ("label", "BYTES", [-1]),
        ("probabilities", "FP64", [-1, 3]),
        ("confidence", "FP64", [-1]),
    ]


def test_every_class_is_in_the_log(lateness: Served, infer_body: Body) -> None:
    lateness.browser.post(INFER, infer_body(0, 1))
    first, second = lateness.rows()
    assert first["probabilities"] == ROWS[0]
    assert second["probabilities"] == ROWS[1]
    assert (first["score"], first["confidence"]) == (0.5, 0.5)
    assert (second["score"], second["confidence"]) == (0.625, 0.625)


def test_bytes_hold_texts_behind_the_json(lateness: Served, infer_body: Body) -> None:
    wanted = {"outputs": [{"name": name, "parameters": {"binary_data": True}} for name in ("label", "probabilities")]}
    reply = lateness.browser.post(INFER, infer_body(1, 0, **wanted))
    length = int(reply.headers["inference-header-content-length"])
    sizes = [one["parameters"]["binary_data_size"] for one in msgspec.json.decode(reply.body[:length])["outputs"]]
    tail = reply.body[length:]
    assert tail[: sizes[0]] == b"\x09\0\0\0very late\x07\0\0\0on time"
    assert np.frombuffer(tail[sizes[0] :], "<f8").tolist() == [*ROWS[1], *ROWS[0]]


@pytest.mark.parametrize("raw", [False, True])
def test_grpc_gives_the_same_tensors(call: Caller, raw: bool) -> None:
    given = column("row", "FP64", [2]) if raw else column("row", "FP64", [2], fp64_contents=[1, 2])
    blobs: dict[str, Any] = {"raw_input_contents": [np.array([1.0, 2.0]).tobytes()]} if raw else {}
    answer = call("ModelInfer", model_name="delay", inputs=[given], **blobs)
    assert [(one.name, one.datatype, list(one.shape)) for one in answer.outputs] == [
        ("label", "BYTES", [2]),
        ("probabilities", "FP64", [2, 3]),
        ("confidence", "FP64", [2]),
    ]
    assert answer.outputs[1].parameters["classes"].string_param == "on time,late,very late"
    if raw:
        assert answer.raw_output_contents[0] == b"\x09\0\0\0very late\x04\0\0\0late"
        assert np.frombuffer(answer.raw_output_contents[1], "<f8").tolist() == [*ROWS[1], *ROWS[2]]
    else:
        assert list(answer.outputs[0].contents.bytes_contents) == [b"very late", b"late"]
        assert list(answer.outputs[1].contents.fp64_contents) == [*ROWS[1], *ROWS[2]]


def test_the_protocols_of_json_rows_give_each_its_own_shape(lateness: Served, ask: Ask) -> None:
    rows = [[1], [0]]
    as_lists = [
        {"label": "very late", "classes": list(CLASSES), "scores": ROWS[1]},
        {"label": "on time", "classes": list(CLASSES), "scores": ROWS[0]},
    ]
    records = [
        {"label": "very late", "probabilities": dict(zip(CLASSES, ROWS[1], strict=True))},
        {"label": "on time", "probabilities": dict(zip(CLASSES, ROWS[0], strict=True))},
    ]
    gateway = lateness.gateway

    def predictions(routes: Any, path: str, body: Any) -> Any:
        return msgspec.json.decode(ask(routes(gateway), "POST", path, body, {"content-type": "application/json"}).body)[
            "predictions"
        ]

    assert predictions(kserve.routes, "/v1/models/delay:predict", {"instances": rows}) == as_lists
    assert predictions(vertex.routes, "/predict", {"instances": rows}) == as_lists
    assert predictions(scoring.routes, "/invocations", {"inputs": rows}) == records
    instances = {"instances": [{"features": row} for row in rows]}
    assert predictions(sagemaker.routes, "/invocations", instances) == [
        {"score": ROWS[1], "predicted_label": "very late"},
        {"score": ROWS[0], "predicted_label": "on time"},
    ]


def test_sagemaker_gives_probabilities_as_csv_and_as_an_array(lateness: Served, ask: Ask) -> None:
    routes = sagemaker.routes(lateness.gateway)
    csv = ask(routes, "POST", "/invocations", b"1\n0\n", {"content-type": "text/csv"})
    assert csv.body == b"0.125,0.25,0.625\n0.5,0.25,0.25\n"
    headers = {"content-type": "text/csv", "accept": "application/x-npy"}
    assert np.load(io.BytesIO(ask(routes, "POST", "/invocations", b"1\n0\n", headers).body)).tolist() == ROWS[1::-1]


def test_an_anomaly_has_a_score_and_a_label_from_the_threshold_on(odd: Served, infer_body: Body) -> None:
    reply = odd.browser.post(INFER, infer_body(0, 1, 2))
    assert reply.json()["outputs"] == [
        {"name": "anomaly_score", "shape": [3], "datatype": "FP64", "data": [-3.5, 0.5, 7.25]},
        {"name": "label", "shape": [3], "datatype": "INT64", "data": [0, 1, 1]},
    ]
    assert {row["confidence"] for row in odd.rows()} == {None}
    assert {row["probabilities"] for row in odd.rows()} == {None}


def test_the_protocols_of_json_rows_give_an_anomaly_score_and_label(odd: Served, ask: Ask) -> None:
    records = [{"anomaly_score": -3.5, "label": 0}, {"anomaly_score": 7.25, "label": 1}]
    for routes, path in ((kserve.routes, "/v1/models/delay:predict"), (vertex.routes, "/predict")):
        answer = ask(routes(odd.gateway), "POST", path, {"instances": [[0], [2]]})
        assert msgspec.json.decode(answer.body) == {"predictions": records}
    headers = {"content-type": "application/json"}
    answer = ask(scoring.routes(odd.gateway), "POST", "/invocations", {"inputs": [[0], [2]]}, headers)
    assert msgspec.json.decode(answer.body) == {"predictions": records}
    body = {"instances": [{"features": [2]}]}
    answer = ask(sagemaker.routes(odd.gateway), "POST", "/invocations", body, headers)
    assert msgspec.json.decode(answer.body) == {"predictions": [{"score": 7.25, "predicted_label": 1}]}


def test_a_binary_model_with_names_answers_with_them(
    served: Served, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    served.serve(table_of(("champion", pack(classes=("no", "yes")), 100)))
    outputs = served.browser.post(INFER, infer_body(0, 1)).json()["outputs"]
    assert [one["name"] for one in outputs] == ["probability", "label", "confidence"]
    assert (outputs[1]["datatype"], outputs[1]["data"]) == ("BYTES", ["no", "yes"])
    path = "/v2/models/delay/feedback"
    assert served.browser.post(path, {"labels": [{"id": "a", "label": "yes"}, {"id": "b", "label": 0}]}).status == 200
    refused = served.browser.post(path, {"id": "c", "label": "maybe"})
    assert "labels[0].label is 'maybe'; expected 0 or 1, or one of no, yes" in refused.json()["error"]
    assert served.log.read_labels()[0]["label"].to_pylist() == [1.0, 0.0]


def test_rows_of_versions_with_other_classes_have_all_of_them(
    served: Served, classes: LoadedBundle, pack: Packer, table_of: TableOf, infer_body: Body
) -> None:
    newer = pack(2, task="multiclass", classes=("late", "cancelled", "on time"), scores=[[0.125, 0.625, 0.25]] * 40)
    served.serve(table_of(("champion", classes, 50), ("challenger", newer, 50), sticky=["key"]))
    keys = [f"k{n}" for n in range(40)]
    body = infer_body(*[n % 3 for n in range(40)])
    body["inputs"].append({"name": "key", "shape": [40], "datatype": "BYTES", "data": keys})
    reply = served.browser.post(INFER, body).json()
    outputs = {one["name"]: one for one in reply["outputs"]}
    assert outputs["probabilities"]["parameters"]["classes"] == ["on time", "late", "very late", "cancelled"]
    found = np.array(outputs["probabilities"]["data"]).reshape(40, 4)
    versions = np.array(reply["parameters"]["versions"])
    assert set(versions) == {1, 2}
    for row, version in enumerate(versions):
        expected = [*ROWS[row % 3], 0.0] if version == 1 else [0.25, 0.125, 0.0, 0.625]
        assert found[row].tolist() == expected
        assert outputs["label"]["data"][row] == (LABELS[row % 3] if version == 1 else "cancelled")
    logged = {(row["prediction_id"], row["version"]): row["probabilities"] for row in served.rows()}
    assert len(logged) == 80
    assert {tuple(values) for (_, version), values in logged.items() if version == 2} == {(0.125, 0.625, 0.25)}


def test_a_row_without_a_number_fails_alone_and_is_logged(lateness: Served, infer_body: Body) -> None:
    reply = lateness.browser.post(INFER, infer_body(3))
    assert reply.status == 500
    assert "gave nan; expected a number" in reply.json()["error"]
    (row,) = lateness.rows()
    assert row["score"] is None


def test_a_fixed_class_answers_where_the_model_fails(
    served: Served, classes: LoadedBundle, table_of: TableOf, infer_body: Body, tmp_path: Any
) -> None:
    other = type(served)(SegmentLog(tmp_path / "other"), fallbacks=Fallbacks(value="late"))
    other.serve(table_of(("champion", classes, 100)))
    reply = other.browser.post(INFER, infer_body(3)).json()
    assert reply["outputs"][0]["data"] == ["late"]
    assert reply["outputs"][1]["data"] == [0.0, 1.0, 0.0]
    answered = next(row for row in other.rows() if row["served"])
    assert (answered["version"], answered["probabilities"]) == (0, [0.0, 1.0, 0.0])
    other.browser.close()
    other.log.close()


def test_an_anomaly_score_has_no_interval(odd: Served, infer_body: Body) -> None:
    refused = odd.browser.post(INFER, infer_body(0, parameters={"coverage": 0.9}))
    assert "is no regression: its answers carry a score and a label, not an interval" in refused.json()["error"]


def test_explanations_of_several_classes_are_refused(lateness: Served, infer_body: Body) -> None:
    refused = lateness.browser.post(INFER, infer_body(0, parameters={"explain": True}))
    assert refused.status == 400
    assert "the probabilities of several classes are not explained" in refused.json()["error"]
    refused = lateness.browser.post(INFER, infer_body(0, parameters={"coverage": 0.9}))
    assert "is no regression: its answers carry a confidence" in refused.json()["error"]


def test_labels_are_names_of_classes(lateness: Served) -> None:
    labels = [{"id": "a", "label": "late"}, {"id": "b", "label": "cancelled"}, {"id": "c", "label": "cancelled"}]
    reply = lateness.browser.post("/v2/models/delay/feedback", {"labels": labels})
    assert reply.json() == {"accepted": 3, "unknown_classes": {"cancelled": 2}}
    lines = b"id,label\nd,very late\n"
    reply = lateness.browser.post("/v2/models/delay/feedback", lines, content_type="text/csv")
    assert reply.json() == {"accepted": 1}
    table = lateness.log.read_labels()[0]
    assert table["label"].to_pylist() == [None] * 4
    assert table["class_name"].to_pylist() == ["late", "cancelled", "cancelled", "very late"]


def test_a_repeated_class_has_no_second_effect(lateness: Served) -> None:
    path, label = "/v2/models/delay/feedback", {"id": "a", "label": "late"}
    said = [lateness.browser.post(path, body).json() for body in (label, label, label | {"label": "on time"})]
    assert said == [{"accepted": 1}, {"accepted": 1, "repeated": 1}, {"accepted": 1, "contradicting": 1}]


@pytest.mark.parametrize("wrong", [1, 0.5, True, "", None, "x" * 201, "a\x1b"])
def test_what_is_no_class_is_refused(lateness: Served, wrong: Any) -> None:
    refused = lateness.browser.post("/v2/models/delay/feedback", {"id": "a", "label": wrong})
    assert refused.status == 400
    assert "labels[0].label is" in refused.json()["error"]
    assert lateness.log.read_labels()[0].num_rows == 0


def test_classes_that_are_whole_numbers_are_labelled_by_numbers(
    served: Served, pack: Packer, table_of: TableOf
) -> None:
    served.serve(table_of(("champion", pack(task="multiclass", classes=("0", "1", "2"), scores=ROWS), 100)))
    labels = [{"id": "a", "label": 2}, {"id": "b", "label": "1"}, {"id": "c", "label": 10.0}]
    reply = served.browser.post("/v2/models/delay/feedback", {"labels": labels})
    assert reply.json() == {"accepted": 3, "unknown_classes": {"10": 1}}
    assert served.log.read_labels()[0]["class_name"].to_pylist() == ["2", "1", "10"]


def test_a_long_request_keeps_the_order_of_its_rows(lateness: Served, infer_body: Body) -> None:
    order = [n % 3 for n in range(2000)]
    outputs = lateness.browser.post(INFER, infer_body(*order)).json()["outputs"]
    assert outputs[0]["data"] == [LABELS[n] for n in order]
    assert np.array(outputs[1]["data"]).reshape(-1, 3).tolist() == [ROWS[n] for n in order]
    assert [row["probabilities"] for row in lateness.rows()] == [ROWS[n] for n in order]
