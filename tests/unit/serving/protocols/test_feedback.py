"""Labels over HTTP: every form they come in, and every outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.core.feedback import MOST_NAMED, BadLabels
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.protocols.feedback import MOST_LABELS, decode
from trimtab.serving.requests import Refused
from trimtab.stores.predictions.null import NullLog

if TYPE_CHECKING:
    from unit.serving.conftest import Served

Packer = Callable[..., LoadedBundle]
TableOf = Callable[..., ModelTable]
PATH = "/v2/models/delay/feedback"


@pytest.fixture
def two(served: Served, pack: Packer, table_of: TableOf) -> Served:
    """A gateway with a binary model "delay" and a regression "price"."""
    price = pack(model="price", task="regression", scores=(1.0, 2.0))
    return served.serve(table_of(("champion", pack(), 100)), table_of(("champion", price, 100)))


def logged(served: Served) -> list[tuple[str, float, str]]:
    rows = served.log.read_labels()[0].to_pylist()
    return [(row["prediction_id"], row["label"], row["known_at"].isoformat()[:10]) for row in rows]


LABELS = [
    {"id": "a", "label": 1, "known_at": "2026-02-01"},
    {"id": "7", "label": 0, "known_at": 1_767_225_600_000_000},
    {"id": "c/0", "label": 1},
]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", {"labels": LABELS}),
        ("", {"labels": LABELS}),
        ("application/x-ndjson", b"\n\r\n".join(map(msgspec.json.encode, LABELS)) + b"\n"),
        ("text/csv; charset=utf-8", b"id,label,known_at\na,1,2026-02-01\n7,0,1767225600000000\nc/0,1,\n"),
        (
            "text/csv",
            b"label,id,known_at,comment\n1.0,a,2026-02-01,x\n0.0,7,2026-01-01T01:00:00+01:00,\n1,c/0,NaN,y\n",
        ),
    ],
)
def test_labels_in_bulk(two: Served, kind: str, body: Any) -> None:
    reply = two.browser.post(PATH, body, content_type=kind)
    assert (reply.status, reply.json()) == (200, {"accepted": 3})
    assert logged(two) == [("a", 1, "2026-02-01"), ("7", 0, "2026-01-01"), ("c/0", 1, "2026-03-01")]


def test_a_late_label_is_taken_as_any(two: Served) -> None:
    for moment in ("1999-12-31", "2031-01-01"):
        assert two.browser.post(PATH, {"id": "a", "label": 1, "known_at": moment}).status == 200
    assert [known_at for _, _, known_at in logged(two)] == ["1999-12-31", "2031-01-01"]


def test_a_repeated_label_has_no_second_effect(two: Served) -> None:
    label = {"id": "a", "label": 1, "known_at": "2026-02-01"}
    replies = [two.browser.post(PATH, body).json() for body in (label, label, {"labels": [label, label]})]
    assert replies == [{"accepted": 1}, {"accepted": 1, "repeated": 1}, {"accepted": 2, "repeated": 2}]
    assert len(logged(two)) == 1


def test_a_contradictory_label_is_kept_in_addition_to_the_one_before(two: Served) -> None:
    two.browser.post(PATH, {"id": "a", "label": 1, "known_at": "2026-02-01"})
    reply = two.browser.post(PATH, {"id": "a", "label": 0, "known_at": "2026-02-02"})
    assert reply.json() == {"accepted": 1, "contradicting": 1}
    assert logged(two) == [("a", 1, "2026-02-01"), ("a", 0, "2026-02-02")]


def test_a_label_of_an_unknown_id_is_taken(two: Served) -> None:
    assert two.browser.post(PATH, {"id": "nobody-knows", "label": 1}).json() == {"accepted": 1}
    assert [name for name, _, _ in logged(two)] == ["nobody-knows"]


def test_of_a_partly_invalid_bulk_nothing_is_taken(two: Served) -> None:
    labels: list[Any] = [{"id": "a", "label": 1}, {"id": "b", "label": 2}, {"id": "", "label": 1}]
    reply = two.browser.post(PATH, {"labels": [*labels, 5]})
    assert reply.status == 400
    assert [(each["index"], each["field"]) for each in reply.json()["invalid"]] == [(2, "id"), (3, "")]
    task = two.browser.post(PATH, {"labels": [*labels[:2], {"id": "c", "label": 0.5}]})
    assert [(each["index"], each["field"]) for each in task.json()["invalid"]] == [(1, "label"), (2, "label")]
    assert "labels[1].label is 2.0; expected 0 or 1; labels[2].label" in task.json()["error"]
    assert logged(two) == []


def test_the_first_wrong_labels_are_named() -> None:
    body = msgspec.json.encode({"labels": [{"id": "a"}] * 50})
    with pytest.raises(BadLabels, match=r"labels\[19\].*; and 30 more") as bad:
        decode(body)
    assert len(bad.value.wrong) == 50
    assert f"labels[{MOST_NAMED}]" not in str(bad.value)


def test_labels_of_any_model_name_their_own(two: Served) -> None:
    labels = [{"id": "a", "label": 1, "model": "delay"}, {"id": "b", "label": -2.5, "model": "price"}]
    assert two.browser.post("/v2/feedback", {"labels": labels}).json() == {"accepted": 2}
    lines = b"id,label,model\nc,0,delay\nd,7.5,price\n"
    assert two.browser.post("/v2/feedback", lines, content_type="text/csv").json() == {"accepted": 2}
    assert [(name, label) for name, label, _ in logged(two)] == [("a", 1), ("b", -2.5), ("c", 0), ("d", 7.5)]
    assert two.log.read_labels()[0]["model"].to_pylist() == ["delay", "price", "delay", "price"]


def test_a_label_of_one_model_neither_repeats_nor_contradicts_one_of_another(two: Served) -> None:
    assert two.browser.post("/v2/feedback", {"id": "a", "label": 1, "model": "delay"}).json() == {"accepted": 1}
    assert two.browser.post("/v2/feedback", {"id": "a", "label": 1, "model": "price"}).json() == {"accepted": 1}
    again = two.browser.post("/v2/feedback", {"id": "a", "label": 0, "model": "delay"}).json()
    assert again == {"accepted": 1, "contradicting": 1}


def test_late_repeated_contradictory_and_unknown_labels_are_taken_and_wrong_ones_refused(two: Served) -> None:
    """What docs/serving.md says of labels by the API; what comes from tables is in app/test_outcomes_taken.py."""

    def send(*labels: dict[str, Any]) -> dict[str, Any]:
        said: dict[str, Any] = two.browser.post(PATH, {"labels": list(labels)}).json()
        return said

    late = {"id": "a", "label": 1, "known_at": "2036-01-01"}
    assert send(late) == {"accepted": 1}
    assert send(late) == {"accepted": 1, "repeated": 1}
    assert send(late | {"label": 0, "known_at": "2035-01-01"}) == {"accepted": 1, "contradicting": 1}
    assert send({"id": "nobody's", "label": 1, "known_at": "2020-01-01"}) == {"accepted": 1}
    assert "invalid" in send({"id": "b", "label": 1}, {"id": "c", "label": 2})
    assert logged(two) == [("a", 1, "2036-01-01"), ("a", 0, "2035-01-01"), ("nobody's", 1, "2020-01-01")]


def test_the_only_model_or_a_header_need_not_be_named(two: Served, pack: Packer, table_of: TableOf) -> None:
    label = {"id": "a", "label": 0.5}
    unnamed = two.browser.post("/v2/feedback", label)
    assert "labels[0].model is null; expected the name of a model. Valid: delay, price." in unnamed.json()["error"]
    assert two.browser.post("/v2/feedback", label, x_trimtab_model="price").status == 200
    assert two.browser.post("/v2/feedback", label, x_trimtab_model="prize").status == 404
    two.serve(table_of(("champion", pack(), 100)))
    assert two.browser.post("/v2/feedback", {"id": "a", "label": 1}).json()["accepted"] == 1


@pytest.mark.parametrize(("path", "header"), [(PATH, ""), ("/v2/feedback", "delay")])
def test_what_was_named_for_all_holds_for_each(two: Served, path: str, header: str) -> None:
    headers = {"x_trimtab_model": header} if header else {}
    reply = two.browser.post(path, {"labels": [{"id": "a", "label": 1, "model": "price"}]}, **headers)
    assert reply.status == 400
    assert reply.json()["invalid"][0]["field"] == "model"


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        (
            b'{"id":"a","label":Infinity}',
            "application/json",
            400,
            "labels[0].label is 1.7976931348623157e308; expected",
        ),
        (b'{"id":"a","label":1}\n{"id":', "application/x-ndjson", 400, "labels[1]: "),
        (b"id,lable\na,1\n", "text/csv", 400, "column 'label' is missing"),
        (b"id,label\na,\n", "text/csv", 400, "labels[0].label is null"),
        (b"id,label,known_at\na,1,soon\n", "text/csv", 400, "labels[0].known_at is 'soon'"),
        (b'{"id":"a","label":1,"known_at":1767225600000000000}', "", 400, "labels[0].known_at is 1767225600000000000"),
        (b'{"id":"a","label":1,"model":5}', "", 400, "labels[0].model is 5"),
        (b"", "application/x-ndjson", 400, "labels is empty"),
        (b"id,label\n" + b"a,1\n" * (MOST_LABELS + 1), "text/csv", 413, "send them in several requests"),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, kind: str, status: int, message: str) -> None:
    with pytest.raises(Refused) as refused:
        decode(body, kind)
    assert refused.value.status == status
    assert message in str(refused.value)


value = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)
)
item = st.fixed_dictionaries({}, optional={"id": value, "label": value, "known_at": value, "model": value}) | value


@given(
    st.lists(item, max_size=3).map(lambda items: msgspec.json.encode({"labels": items}))
    | item.map(msgspec.json.encode)
    | st.lists(item, max_size=3).map(lambda items: b"\n".join(map(msgspec.json.encode, items)))
    | st.text(st.sampled_from('id,label\n1."x'), max_size=20).map(lambda text: b"id,label\n" + text.encode())
    | st.binary(max_size=40),
    st.sampled_from(["application/json", "application/x-ndjson", "text/csv"]),
)
def test_anything_is_either_read_or_refused(body: bytes, kind: str) -> None:
    try:
        labels = decode(body, kind)
    except Refused as error:
        refused = error
    else:
        assert [label.index for label in labels] == list(range(len(labels)))
        return
    assert refused.status == 400
    assert str(refused).encode()


def test_labels_are_refused_where_nothing_is_kept(served: Served, pack: Packer, table_of: TableOf) -> None:
    other = type(served)(NullLog())
    other.serve(table_of(("champion", pack(), 100)))
    reply = other.browser.post(PATH, {"id": "a", "label": 1})
    assert reply.status == 404
    assert "no predictions are kept here that could be labelled" in reply.json()["error"]
    assert other.gateway.metrics.counts.labels == 0
    other.browser.close()
