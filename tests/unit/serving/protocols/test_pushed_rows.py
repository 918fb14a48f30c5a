"""Rows of sources over HTTP: what is taken, what is refused, and that an answered row is on disk."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.data.connectors.spool_reader import Spool
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.pushing import BadRows, Pushes, check_rows
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.protocols.pushed_rows import ARROW, MOST_ROWS
from trimtab.serving.worker_options import PushedSource
from trimtab.stores.spool import segments

if TYPE_CHECKING:
    from unit.serving.conftest import Served

PATH = "/v1/sources/clicks/push"
COLUMNS = {"id": "text", "n": "integer", "amount": "number", "vip": "boolean", "at": "time"}
ROW = {"id": "a", "n": 7, "amount": 2.5, "vip": True, "at": "2026-02-01T10:00:00Z"}
KEPT = {**ROW, "at": "2026-02-01T10:00:00+00:00"}


def clicks(folder: Path, **options: Any) -> PushedSource:
    return PushedSource(name="clicks", columns=COLUMNS, required=("at", "id"), folder=str(folder), **options)


@pytest.fixture
def open_gateway(
    served: Served, pack: Callable[..., LoadedBundle], table_of: Callable[..., ModelTable], tmp_path: Path
) -> Served:
    """A gateway with the model "delay" that takes rows of clicks."""
    gateway = served.serve(table_of(("champion", pack(), 100)))
    gateway.gateway.pushes = Pushes([clicks(tmp_path / "clicks")])
    return gateway


def waiting(folder: Path) -> list[dict[str, Any]]:
    requests = Spool(folder / "clicks").read({})
    return [msgspec.json.decode(row) for _, _, request in requests for row in request.rows]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (ROW, "application/json"),
        ({"rows": [ROW]}, "application/json"),
        ([ROW], "application/json"),
        (msgspec.json.encode(ROW) + b"\n", "application/x-ndjson"),
    ],
)
def test_rows_are_on_disk_when_the_answer_comes(open_gateway: Served, tmp_path: Path, body: Any, kind: str) -> None:
    reply = open_gateway.browser.post(PATH, body, content_type=kind)
    assert (reply.status, reply.json()) == (202, {"source": "clicks", "accepted": 1})
    assert waiting(tmp_path) == [KEPT]


def test_rows_of_an_arrow_stream_are_taken(open_gateway: Served, tmp_path: Path) -> None:
    at = pa.array([1_769_940_000_000], pa.timestamp("ms", tz="UTC"))
    table = pa.table({"id": ["a"], "n": [7], "amount": [2.5], "vip": [True], "at": at})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    body = sink.getvalue().to_pybytes()
    assert open_gateway.browser.post(PATH, body, content_type=ARROW).status == 202
    assert waiting(tmp_path) == [KEPT]
    refused = open_gateway.browser.post(PATH, body[:-40], content_type=ARROW)
    assert refused.status == 202 or "malformed Arrow stream" in refused.json()["error"]
    assert "malformed Arrow" in open_gateway.browser.post(PATH, b"nonsense", content_type=ARROW).json()["error"]


def test_feasts_client_is_answered(open_gateway: Served, tmp_path: Path) -> None:
    body = {"push_source_name": "clicks", "df": {name: [value, value] for name, value in ROW.items()}, "to": "online"}
    reply = open_gateway.browser.post("/push", body)
    assert (reply.status, reply.json()["accepted"]) == (200, 2)
    assert waiting(tmp_path) == [KEPT, KEPT]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, 'expected {"push_source_name"'),
        ({"push_source_name": "clicks", "df": {"id": ["a"], "n": []}}, "all of one length"),
        ({"push_source_name": "clicks", "df": {"id": "a"}}, "all of one length"),
        ({"push_source_name": "click", "df": {"id": ["a"]}}, "there is no push source 'click'. Did you mean 'clicks'?"),
        ({"push_source_name": "clicks", "df": {"id": ["a"]}, "to": "nowhere"}, "to is 'nowhere'; expected online"),
    ],
)
def test_a_wrong_request_in_feasts_shape_is_named(open_gateway: Served, body: Any, said: str) -> None:
    assert said in open_gateway.browser.post("/push", body).json()["error"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"id": 7}, "rows[1].id is 7; expected text"),
        ({"id": None}, "rows[1].id is null; expected text"),
        ({"n": 7.5}, "rows[1].n is 7.5; expected a whole number of at most 64 bits"),
        ({"n": 2**63}, "rows[1].n is 9223372036854775808; expected a whole number"),
        ({"n": True}, "rows[1].n is true; expected a whole number"),
        ({"amount": "2"}, "rows[1].amount is '2'; expected a number"),
        ({"amount": 2**53 + 1}, "rows[1].amount is 9007199254740993; expected a number, and whole ones"),
        ({"vip": 1}, "rows[1].vip is 1; expected true or false"),
        ({"at": "noon"}, "rows[1].at is 'noon'; expected ISO 8601 text or microseconds"),
        ({"at": 1_772_366_400}, "as seconds it would be 2026-03-01"),
        ({"amuont": 2}, "rows[1] has an unknown column 'amuont'. Did you mean 'amount'?"),
    ],
)
def test_nothing_of_a_request_with_a_wrong_row_is_taken(
    open_gateway: Served, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    reply = open_gateway.browser.post(PATH, {"rows": [ROW, {**ROW, **changed}]})
    assert reply.status == 400
    assert said in reply.json()["error"]
    assert [each["index"] for each in reply.json()["invalid"]] == [1]
    assert waiting(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "malformed rows"),
        (b'{"rows": [{"amount": -Infinity}]}', 400, "rows[0].amount is -1.7976931348623157e308; expected a number"),
        (b"7", 400, 'expected an object, {"rows": [...]}'),
        ({"rows": []}, 400, "there are no rows"),
        ({"rows": [7]}, 400, "rows[0] is 7; expected an object"),
        ({"rows": [{}] * (MOST_ROWS + 1)}, 413, f"rows are more than {MOST_ROWS}"),
        ({"rows": 7}, 400, "unknown column 'rows'"),
    ],
)
def test_a_body_without_rows_is_named(open_gateway: Served, body: Any, status: int, said: str) -> None:
    reply = open_gateway.browser.post(PATH, body)
    assert (reply.status, said in reply.json()["error"]) == (status, True)


def test_a_source_that_takes_no_rows_is_named(open_gateway: Served) -> None:
    reply = open_gateway.browser.post("/v1/sources/click/push", ROW)
    assert (reply.status, reply.json()["error"]) == (404, "there is no push source 'click'. Did you mean 'clicks'?")
    open_gateway.gateway.pushes = None
    assert "declare one with tt.PushSource" in open_gateway.browser.post(PATH, ROW).json()["error"]


def test_a_repeated_request_is_taken_once(open_gateway: Served, tmp_path: Path) -> None:
    post = open_gateway.browser.post
    assert "idempotent-replayed" not in post(PATH, ROW, idempotency_key="k1").headers
    again = post(PATH, ROW, idempotency_key="k1")
    assert (again.status, again.headers["idempotent-replayed"]) == (202, "true")
    other = post(PATH, {**ROW, "n": 8}, idempotency_key="k1")
    assert (other.status, "was used for other rows" in other.json()["error"]) == (422, True)
    assert post(PATH, ROW, idempotency_key="x" * 201).status == 400
    assert waiting(tmp_path) == [KEPT]


def test_a_full_spool_refuses_until_it_is_emptied(open_gateway: Served, tmp_path: Path) -> None:
    open_gateway.gateway.pushes = Pushes([clicks(tmp_path / "clicks", most_bytes=300)])
    replies = [open_gateway.browser.post(PATH, ROW) for _ in range(3)]
    assert [reply.status for reply in replies] == [202, 202, 429]
    assert replies[-1].headers["retry-after"] == "5"
    assert len(waiting(tmp_path)) == 2


def test_a_disk_that_fails_is_told(open_gateway: Served, tmp_path: Path) -> None:
    (tmp_path / "clicks").write_text("a file in place of the folder")
    reply = open_gateway.browser.post(PATH, ROW)
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert str(tmp_path) not in reply.json()["error"]


def test_requests_that_come_together_are_all_on_disk(open_gateway: Served, tmp_path: Path) -> None:
    replies = open_gateway.browser.together([(PATH, {**ROW, "n": n}) for n in range(50)])
    assert {reply.status for reply in replies} == {202}
    assert sorted(row["n"] for row in waiting(tmp_path)) == list(range(50))
    assert len(segments(tmp_path / "clicks")) == 1


VALUES = {
    "id": st.text(max_size=5),
    "n": st.none() | st.integers(-(2**63), 2**63 - 1),
    "amount": st.none() | st.floats(-1e308, 1e308),
    "vip": st.none() | st.booleans(),
    "at": st.integers(10**14, 4 * 10**15),
}


OTHERS = st.none() | st.text() | st.floats() | st.lists(st.none())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries(VALUES), st.sampled_from(sorted(COLUMNS)), OTHERS)
def test_a_row_is_kept_as_it_came_or_named(tmp_path: Path, row: dict[str, Any], name: str, value: Any) -> None:
    source = clicks(tmp_path)
    (kept,) = check_rows(source, [row]).rows
    found = msgspec.json.decode(kept)
    assert {key: found[key] for key in row if key != "at"} == {key: row[key] for key in row if key != "at"}
    with suppress(BadRows):
        check_rows(source, [{**row, name: value}])
        return
    with pytest.raises(BadRows) as error:
        check_rows(source, [{**row, name: value}])
    assert [wrong.field for wrong in error.value.wrong] == [name]
