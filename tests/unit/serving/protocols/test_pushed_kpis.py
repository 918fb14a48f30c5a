"""Points of KPIs over HTTP: what is taken, what is refused, and that an answered point is on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.inbox import KPIS, Inbox, Pushed, inbox
from trimtab.serving.protocols.pushed_kpis import MOST_POINTS

if TYPE_CHECKING:
    from unit.serving.conftest import Served

PATH = "/v2/kpis"
NOON = 1_772_366_400_000_000


@pytest.fixture
def open_gateway(
    served: Served, pack: Callable[..., LoadedBundle], table_of: Callable[..., ModelTable], tmp_path: Path
) -> Served:
    """A gateway with the model "delay" that takes points of revenue and complaints."""
    gateway = served.serve(table_of(("champion", pack(), 100)))
    gateway.gateway.kpis = Inbox(inbox(tmp_path, KPIS), "worker-0", ("revenue", "complaints"))
    return gateway


def waiting(folder: Path) -> list[Pushed]:
    files = sorted(inbox(folder, KPIS).glob("*.json"))
    return [point for file in files for point in msgspec.json.decode(file.read_bytes(), type=list[Pushed])]


def test_points_are_on_disk_when_the_answer_comes(open_gateway: Served, tmp_path: Path) -> None:
    one = {"stream": "revenue", "value": 12}
    two = {"stream": "complaints", "value": 3.5, "time": "2026-02-01", "entity": "shop-4", "model": "delay"}
    assert open_gateway.browser.post(PATH, {"points": [two, one]}).json() == {"accepted": 2}
    assert open_gateway.browser.post(PATH, one).json() == {"accepted": 1}
    first, second, third = waiting(tmp_path)
    assert (second, third.value) == (Pushed(stream="revenue", value=12.0, time=NOON, received_at=NOON), 12.0)
    assert (first.time, first.entity, first.model) == (1_769_904_000_000_000, "shop-4", "delay")
    assert [path.name for path in inbox(tmp_path, KPIS).iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"stream": "revenu", "value": 1}, "points[0].stream is 'revenu'; expected a declared stream. Did you mean"),
        ({"stream": ["revenue"], "value": 1}, "points[0].stream"),
        ({"stream": "revenue"}, "points[0].value is null; expected a number"),
        ({"stream": "revenue", "value": True}, "points[0].value is true; expected a number"),
        ({"stream": "revenue", "value": "12"}, "points[0].value is '12'; expected a number"),
        (b'{"stream": "revenue", "value": 1e999}', "Number out of range"),
        (b'{"stream": "revenue", "value": Infinity}', "points[0].value is 1.7976931348623157e308; expected a number"),
        ({"stream": "revenue", "value": 1, "time": "yesterday"}, "points[0].time is 'yesterday'; expected ISO 8601"),
        ({"stream": "revenue", "value": 1, "time": 1_772_366_400}, "as seconds it would be 2026-03-01"),
        ({"stream": "revenue", "value": 1, "time": "2026-03-03"}, "not more than a day ahead"),
        ({"stream": "revenue", "value": 1, "entity": ""}, "points[0].entity is ''"),
        ({"stream": "revenue", "value": 1, "entity": "a\nb"}, "no control characters"),
        (
            {"stream": "revenue", "value": 1, "model": "dely"},
            "points[0].model is 'dely'; expected the name of a model.",
        ),
        ({"stream": "revenue", "value": 1, "tme": 3}, "unknown field 'tme'. Did you mean 'time'?"),
        ({"points": []}, "points is empty"),
        ({"points": 7}, "malformed KPI points"),
        ({"points": [3]}, "points[0] is 3; expected an object"),
        (b"nonsense", "malformed"),
    ],
)
def test_a_wrong_point_refuses_all_and_says_why(open_gateway: Served, tmp_path: Path, body: Any, said: str) -> None:
    reply = open_gateway.browser.post(PATH, body)
    assert reply.status == 400
    assert said in reply.json()["error"].replace('"', "'")
    assert not inbox(tmp_path, KPIS).exists()


def test_too_many_points_are_refused(open_gateway: Served) -> None:
    points = [{"stream": "revenue", "value": 1}] * (MOST_POINTS + 1)
    assert open_gateway.browser.post(PATH, {"points": points}).status == 413


def test_a_gateway_without_streams_says_how_to_declare_one(open_gateway: Served) -> None:
    open_gateway.gateway.kpis = None
    reply = open_gateway.browser.post(PATH, {"stream": "revenue", "value": 1})
    assert (reply.status, "tt.Kpi(...)" in reply.json()["error"]) == (404, True)


def test_points_that_cannot_be_written_are_not_acknowledged(open_gateway: Served, tmp_path: Path) -> None:
    inbox(tmp_path, KPIS).write_text("a file where the folder should be")
    assert open_gateway.browser.post(PATH, {"stream": "revenue", "value": 1}).status == 503


def test_a_point_of_another_model_than_the_request_s_is_refused(open_gateway: Served) -> None:
    body = {"stream": "revenue", "value": 1, "model": "price"}
    reply = open_gateway.browser.post(PATH, body, **{"X-Trimtab-Model": "delay"})
    assert (reply.status, "points[0].model is" in reply.json()["error"]) == (400, True)


def test_points_of_one_stream_need_not_name_it(open_gateway: Served, tmp_path: Path) -> None:
    path = "/v1/kpis/revenue"
    assert open_gateway.browser.post(path, {"value": 12}).json() == {"accepted": 1}
    assert open_gateway.browser.post(path, {"points": [{"value": 1}, {"stream": "revenue", "value": 2}]}).status == 200
    assert [(point.stream, point.value) for point in waiting(tmp_path)] == [
        ("revenue", 12.0),
        ("revenue", 1.0),
        ("revenue", 2.0),
    ]
    other = open_gateway.browser.post(path, {"stream": "complaints", "value": 1})
    assert other.status == 400
    said = other.json()["error"].replace('"', "'")
    assert "points[0].stream is 'complaints'; expected 'revenue', which the path names" in said
    unknown = open_gateway.browser.post("/v1/kpis/revenu", {"value": 1})
    assert unknown.status == 404
    assert "Did you mean 'revenue'?" in unknown.json()["error"]
