"""Wrong arguments of a RESTSource and of a PushSource are refused, with what was expected."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trimtab.definitions.push_source import PushSource
from trimtab.definitions.rest_source import RESTSource
from trimtab.definitions.secrets import secret
from trimtab.errors import DefinitionError

URL = "https://api.example.com/v1"
TOKEN = {"token": secret("TOKEN")}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"url": "api.example.com"}, "url is 'api.example.com'; expected such as"),
        ({"url": "https://me:pass@api.example.com"}, "url holds credentials"),
        ({"path": "//evil.example.com/x"}, "expected a path below url"),
        ({"method": "PUT"}, "method is 'PUT'; expected 'GET' or 'POST'"),
        ({"json": {"a": 1}}, "expected method='POST'"),
        ({"paginator": "header_lnk"}, "Did you mean 'header_link'?"),
        ({"paginator": {"type": "cursor", "cursor_paht": "next"}}, "has no key 'cursor_paht'. Did you mean"),
        ({"paginator": {"type": "offset"}}, "limit is None; expected the rows of a page"),
        ({"auth": {"type": "bearer"}}, "'token' is missing"),
        ({"auth": {"type": "bearer", "token": "abc"}}, r"token stands in the definition; expected tt\.secret"),
        ({"auth": {"type": "oauth", **TOKEN}}, "type is 'oauth'"),
        ({"auth": {"type": "api_key", "api_key": secret("K"), "location": "cookie"}}, "expected one of header, query"),
        ({"auth": "abc"}, "is not a mapping"),
        ({"incremental": {"cursor_path": "id"}}, "start_param is None; expected text, such as 'since'"),
        ({"incremental": {"cursor_path": "id", "start_param": "a", "lag": "soon"}}, "lag: 'soon' is not a duration"),
        ({"incremental": {"cursor_path": "id", "start_param": "a", "lag": -1}}, "lag is -1"),
        ({"incremental": {"cursor_path": "id", "start_param": "a", "row_order": "desc"}}, "expected one of asc"),
        ({"rate_limit": "5"}, "rate_limit is '5'; expected such as '5/s'"),
        ({"rate_limit": "0/s"}, "expected such as '5/s'"),
        ({"batch_rows": 0}, "batch_rows is 0"),
        ({"timestamp": ""}, "timestamp is ''"),
    ],
)
def test_a_wrong_argument_of_a_rest_source_is_named(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(DefinitionError, match=text) as error:
        RESTSource(**{"name": "orders", "url": URL, "timestamp": "at", **arguments})
    assert str(error.value).startswith("RESTSource 'orders': ")


def test_a_rest_source_is_printed_without_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    source = RESTSource("orders", URL, "orders", timestamp="at", auth=TOKEN, headers={"k": secret("TOKEN")})
    assert "s3cret" not in repr(source)
    assert source.origin == f"{URL}/orders"
    assert source.paging == {"type": "auto"}
    assert replace(source, rate_limit="5/s").micros_between_requests == 200_000


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"schema": {}}, r"schema is \{\}; expected such as"),
        ({"schema": {"at": "time", "amount": "float"}}, "column 'amount' is 'float'; expected one of text, integer"),
        ({"schema": {"when": "time"}}, "timestamp 'at' is no column of schema"),
        ({"schema": {"at": "text"}}, "column 'at' is a time; it cannot be 'text'"),
        ({"key": ["idd"]}, "key 'idd' is no column of schema. Did you mean 'id'?"),
        ({"known_at": "seen"}, "known_at 'seen' is no column of schema"),
        ({"dtypes": {"id": "number"}}, "expected the types in schema"),
        ({"time_zone": "Europe/Berlin"}, "a client sends ISO 8601 times"),
    ],
)
def test_a_wrong_argument_of_a_push_source_is_named(arguments: dict[str, Any], text: str) -> None:
    given: dict[str, Any] = {"name": "clicks", "schema": {"at": "time", "id": "text"}, "timestamp": "at", **arguments}
    with pytest.raises(DefinitionError, match=text) as error:
        PushSource(**given)
    assert str(error.value).startswith("PushSource 'clicks': ")


def test_a_push_source_has_the_types_of_its_schema() -> None:
    source = PushSource("clicks", schema={"at": "time", "id": "text"}, timestamp="at")
    assert source.dtypes == {"at": "time", "id": "text"}
    assert replace(source, owner="me").schema == source.schema
