"""Features over HTTP in Feast's shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from trimtab.errors import DataError, DefinitionError
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.protocols.feature_server import MOST_ROWS

if TYPE_CHECKING:
    from unit.serving.conftest import Served

PATH = "/get-online-features"
UNTIL = datetime(2026, 3, 1, tzinfo=UTC)


class Reader:
    """Gives the names that were asked for, and the time of the read as the value."""

    def features_of(self, service: str) -> Sequence[Any]:
        if service != "checkout":
            raise DataError(f"there is no feature service '{service}'. Did you mean 'checkout'?")
        return ["spent__count_1d"]

    def named(self, names: Sequence[str]) -> Sequence[Any]:
        if "broken" in names:
            raise DefinitionError("definitions.py:3: no")
        return names

    def read(
        self, features: Sequence[Any], columns: Mapping[str, Sequence[Any]], *, at: int, full_names: bool
    ) -> list[Any]:
        def column(name: str, values: Sequence[Any], time: datetime | None) -> Any:
            return SimpleNamespace(
                name=name, values=values, statuses=["PRESENT"] * len(values), times=[time] * len(values)
            )

        rows = len(next(iter(columns.values())))
        keys = [column(name, values, None) for name, values in columns.items()]
        return keys + [column(f"{name}/{full_names}", [at] * rows, UNTIL) for name in features]


@pytest.fixture
def gateway(served: Served, pack: Callable[..., LoadedBundle], table_of: Callable[..., ModelTable]) -> Served:
    found = served.serve(table_of(("champion", pack(), 100)))
    found.gateway.features = Reader()
    return found


def test_the_answer_has_the_shape_of_feasts_server(gateway: Served) -> None:
    body = {"features": ["spent:count_1d"], "entities": {"card": ["a", "b"]}, "at": "2026-02-01T00:00:00Z"}
    assert gateway.browser.post(PATH, body).json() == {
        "metadata": {"feature_names": ["card", "spent:count_1d/False"]},
        "results": [
            {
                "values": ["a", "b"],
                "statuses": ["PRESENT", "PRESENT"],
                "event_timestamps": ["1970-01-01T00:00:00Z"] * 2,
            },
            {
                "values": [1_769_904_000_000_000] * 2,
                "statuses": ["PRESENT", "PRESENT"],
                "event_timestamps": ["2026-03-01T00:00:00Z"] * 2,
            },
        ],
    }


def test_what_feasts_client_sends_in_addition_has_no_effect(gateway: Served) -> None:
    more = {"full_feature_names": True, "include_feature_view_version_metadata": False, "requested_features": None}
    found = gateway.browser.post(PATH, {"feature_service": "checkout", "entities": {"card": [1]}, **more}).json()
    assert found["metadata"]["feature_names"] == ["card", "spent__count_1d/True"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"entities": {"card": ["a"]}}, 400, "expected one of features and feature_service"),
        ({"features": ["a:b"]}, 400, "malformed feature request: Object missing required field `entities`"),
        ({"features": "a:b", "entities": {"card": ["a"]}}, 400, "malformed feature request: Expected"),
        ({"feature_service": "check", "entities": {"card": ["a"]}}, 400, "Did you mean 'checkout'?"),
        ({"features": ["a:b"], "entities": {"card": ["a"]}, "at": "soon"}, 400, "at is 'soon'; "),
        ({"features": ["a:b"], "entities": {"card": ["a"] * (MOST_ROWS + 1)}}, 413, "read them in several requests"),
        ({"features": ["broken"], "entities": {"card": ["a"]}}, 500, "definitions.py:3: no"),
    ],
)
def test_what_is_wrong_is_said_in_feasts_shape(gateway: Served, body: Any, status: int, said: str) -> None:
    answer = gateway.browser.post(PATH, body)
    assert answer.status == status
    assert answer.json()["status_code"] == status
    assert said in answer.json()["detail"]


def test_features_are_not_written_past_their_definitions(gateway: Served) -> None:
    answer = gateway.browser.post("/write-to-online-store", {"feature_view_name": "spent", "df": {}})
    assert answer.status == 405
    assert "POST /v1/sources/{source}/push" in answer.json()["detail"]


def test_a_folder_that_is_served_alone_has_no_features(gateway: Served) -> None:
    gateway.gateway.features = None
    answer = gateway.browser.post(PATH, {"features": ["a:b"], "entities": {"card": ["a"]}})
    assert answer.status == 404
    assert "a project's gateway" in answer.json()["detail"]
