"""A REST source against a real server that pages, throttles, fails, cuts, repeats and lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kit.hostile_api import PAGE, HostileApi, hostile_api
from trimtab.clock import ManualClock
from trimtab.data.connectors.contract import Access, Pull
from trimtab.data.connectors.rest import RestConnector
from trimtab.data.connectors.rest_session import ATTEMPTS, Refused, SourceUnavailable
from trimtab.definitions.rest_source import RESTSource
from trimtab.definitions.secrets import secret
from trimtab.errors import DataError, DefinitionError, StageError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
STYLES: dict[str, Any] = {
    "link": "header_link",
    "json": "json_link",
    "cursor": {"type": "cursor", "cursor_path": "next_cursor", "cursor_param": "after"},
    "page": {"type": "page_number", "total_path": "pages"},
    "offset": {"type": "offset", "limit": PAGE, "total_path": "total"},
    "all": "single_page",
}
INCREMENTAL = {"cursor_path": "updated_at", "start_param": "since"}


def row(number: int) -> dict[str, Any]:
    return {"id": number, "updated_at": f"2026-01-{number // 24 + 1:02d}T{number % 24:02d}:00:00Z", "price": number / 4}


@pytest.fixture
def api() -> Iterator[HostileApi]:
    with hostile_api([row(n) for n in range(35)]) as server:
        yield server


Open = Callable[..., RestConnector]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def connect(api: HostileApi, clock: ManualClock, tmp_path: Path) -> Open:
    def made(style: str = "cursor", **arguments: Any) -> RestConnector:
        arguments = {"paginator": STYLES[style], "timestamp": "updated_at", "key": ["id"], **arguments}
        source = RESTSource("orders", api.url, style, **arguments)
        return RestConnector(source, Access(tmp_path, tmp_path), clock)

    return made


def ids(pulls: list[Pull]) -> list[int]:
    return pl.concat([pull.frame.select("id") for pull in pulls if pull.frame.height])["id"].to_list()


def read(connector: RestConnector, state: str | None = None) -> list[int]:
    return ids(list(connector.pulls(state)))


@pytest.mark.parametrize("style", STYLES)
def test_gives_all_rows_of_each_paging_style(connect: Open, style: str) -> None:
    assert read(connect(style)) == list(range(35))


@pytest.mark.parametrize("style", ["link", "json", "all"])
def test_recognises_the_paging_style(connect: Open, style: str) -> None:
    assert read(connect(style, paginator=None)) == list(range(35))


@pytest.mark.parametrize("style", ["page", "offset", "cursor"])
def test_refuses_to_guess_a_paging_style_that_could_leave_out_rows(connect: Open, style: str, api: HostileApi) -> None:
    params = {"offset": 0, "limit": 10} if style == "offset" else {}
    with pytest.raises(
        DataError, match=r"RESTSource 'orders': .*(expected a paginator|are .* the names of the paginator)"
    ):
        read(connect(style, paginator="auto", params=params))


def test_puts_pages_together_up_to_batch_rows_and_counts_pulls(connect: Open) -> None:
    pulls = list(connect("link", batch_rows=15).pulls(None))
    assert [pull.frame.height for pull in pulls] == [20, 15]
    assert [pull.state for pull in pulls] == ['{"pull":1}', '{"pull":2}']


@pytest.mark.parametrize("style", ["link", "page"])
@pytest.mark.parametrize("fault", ["429", "429 date", "500", "cut", "truncated", "html", "hang up", "gzip", "bad gzip"])
def test_goes_on_after_a_fault(connect: Open, api: HostileApi, style: str, fault: str) -> None:
    api.faults = ["ok", fault, fault, "ok", fault]
    assert read(connect(style)) == list(range(35))


def test_waits_as_long_as_the_server_says(connect: Open, api: HostileApi, clock: ManualClock) -> None:
    api.faults = ["429", "429"]
    read(connect("all"))
    assert 6 <= (clock.now() - NOW).total_seconds() < 9


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("500", "the server answers 500 Internal Server Error"),
        ("429", "the server answers 429 Too Many Requests"),
        ("html", "expected JSON, got text/html, 25 bytes: '<html>log in first</html>'"),
        ("truncated", "expected JSON, got application/json"),
        ("cut", "IncompleteRead"),
        ("hang up", "Connection aborted"),
    ],
)
def test_names_source_url_and_reason_when_all_attempts_fail(
    connect: Open, api: HostileApi, fault: str, text: str
) -> None:
    api.faults = ["ok"] + [fault] * ATTEMPTS
    with pytest.raises(SourceUnavailable) as error:
        read(connect("link"))
    assert str(error.value).startswith(f"RESTSource 'orders': GET {api.url}/link?page=1: ")
    assert text in str(error.value)
    assert len(api.asked) == 1 + ATTEMPTS


def test_does_not_ask_again_after_an_answer_that_stays(connect: Open, api: HostileApi) -> None:
    api.faults = ["404"]
    with pytest.raises(Refused, match=r"/link: the server answers 404 Not Found: 'there is nothing here'"):
        read(connect("link"))
    assert len(api.asked) == 1


def test_ends_when_the_server_asks_for_a_long_pause(connect: Open, api: HostileApi) -> None:
    api.faults = ["429 long"]
    with pytest.raises(SourceUnavailable, match="asks to wait 3,600 s"):
        read(connect("link"))


def test_keeps_the_rate_limit(connect: Open, clock: ManualClock) -> None:
    read(connect("link", rate_limit="2/m"))
    assert 89 < (clock.now() - NOW).total_seconds() < 91


@pytest.mark.parametrize("style", ["link", "json", "cursor", "page", "offset"])
def test_asks_again_when_a_page_repeats_another(connect: Open, api: HostileApi, style: str) -> None:
    api.faults = ["ok", "repeat", "repeat"]
    assert read(connect(style)) == list(range(35))


@pytest.mark.parametrize("style", ["link", "page", "offset"])
def test_refuses_a_page_that_stays_another(connect: Open, api: HostileApi, style: str) -> None:
    api.faults = ["ok", "repeat", "repeat", "repeat"]
    with pytest.raises(DataError, match="has the rows of an earlier page"):
        read(connect(style))


def test_refuses_links_that_lead_back(connect: Open, api: HostileApi) -> None:
    api.envelope = {"next": "/json?page=1"}
    with pytest.raises(DataError, match=r"json\?page=1: the next page that the server names is one that was read"):
        read(connect("json"))


def test_refuses_endless_pages_of_the_same_rows(connect: Open, api: HostileApi) -> None:
    def move(page: int) -> None:
        api.envelope = {"next": f"/json?page=0&n={len(api.asked)}"}

    api.before_page = move
    with pytest.raises(DataError, match="has the rows of an earlier page"):
        read(connect("json"))


def test_refuses_a_constant_cursor(connect: Open, api: HostileApi) -> None:
    api.envelope = {"next_cursor": "1"}
    with pytest.raises(DataError, match="its pages never end"):
        read(connect("cursor"))


def test_refuses_pages_shorter_than_asked_for(connect: Open, api: HostileApi) -> None:
    api.most = 7
    with pytest.raises(DataError, match=r"has 7 rows in place of 10, and is not the last; expected limit .* such as 7"):
        read(connect("offset"))


def test_refuses_fewer_rows_than_announced(connect: Open, api: HostileApi) -> None:
    api.envelope = {"total": 38}
    with pytest.raises(DataError, match="the pages have 35 rows, and the server announces 38"):
        read(connect("offset"))


def test_refuses_an_end_where_the_server_has_more(connect: Open, api: HostileApi) -> None:
    api.envelope = {"has_more": True}
    with pytest.raises(DataError, match="there is no next page, although 'has_more' is true"):
        read(connect("cursor"))


def test_refuses_an_answer_without_the_place_of_the_rows(connect: Open, api: HostileApi) -> None:
    def break_(page: int) -> None:
        api.envelope = {"data": {"error": "busy"}} if page == 2 else {}

    api.before_page = break_
    with pytest.raises(DataError, match=r"there are no rows at 'data\.items'; expected a list"):
        read(connect("cursor"))


@pytest.mark.parametrize("link", ["http://127.0.0.2:9/steal", "https://example.org/steal"])
def test_does_not_follow_links_to_another_host(connect: Open, api: HostileApi, link: str) -> None:
    api.envelope = {"next": link}
    with pytest.raises(DataError, match="its next link leads to another host"):
        read(connect("json"))


def test_does_not_follow_redirects_to_another_host(connect: Open, api: HostileApi) -> None:
    api.faults = ["redirect"]
    with pytest.raises(DataError, match="it redirects to another host"):
        read(connect("link"))


def test_rows_that_repeat_within_a_sweep_count_once(connect: Open, api: HostileApi) -> None:
    def insert(page: int) -> None:
        if page == 1:
            api.rows.insert(0, row(100))

    api.before_page = insert
    assert sorted(read(connect("link"))) == list(range(35))  # row 100 comes with the next sweep


def test_flattens_nested_rows(connect: Open, api: HostileApi) -> None:
    api.rows = [
        {**row(0), "customer": {"city": {"name": "Bern"}}, "tags": ["a", 1], "none": None},
        {**row(1), "customer": {"city": {"name": None}, "vip": True}, "tags": []},
    ]
    (pull,) = connect("all").pulls(None)
    assert pull.frame.drop("id", "updated_at", "price").to_dicts() == [
        {"customer__city__name": "Bern", "tags": '["a",1]', "none": None, "customer__vip": None},
        {"customer__city__name": None, "tags": "[]", "none": None, "customer__vip": True},
    ]
    assert pull.sparse


@pytest.mark.parametrize(
    ("second", "text"),
    [
        ("cheap", r"all: row 2: column 'price' is 'cheap', and numbers in rows before; .* dtypes=\{'price': 'text'\}"),
        (True, "column 'price' is True, and numbers in rows before"),
        (2**70, "column 'price' is 1180591620717411303424; expected at most 9007199254740992"),
    ],
)
def test_names_the_row_that_changes_a_type(connect: Open, api: HostileApi, second: object, text: str) -> None:
    api.rows = [row(1), {**row(2), "price": second}]
    with pytest.raises(DataError, match=text):
        read(connect("all"))
    (pull,) = connect("all", dtypes={"price": "text"}).pulls(None)
    assert pull.frame["price"].dtype == pl.String


def test_refuses_rows_that_are_no_objects(connect: Open, api: HostileApi) -> None:
    api.rows = [row(1), "two"]  # type: ignore[list-item]
    with pytest.raises(DataError, match='row 2 is "two"; expected an object'):
        read(connect("all"))


def test_asks_only_for_rows_from_the_cursor_on(connect: Open, api: HostileApi) -> None:
    connector = connect(incremental={**INCREMENTAL, "initial_value": "2026-01-01T12:00:00Z"})
    pulls = list(connector.pulls(None))
    assert ids(pulls) == list(range(12, 35))
    assert api.asked[0].endswith("since=2026-01-01T12%3A00%3A00Z")
    assert pulls[-1].state == '{"cursor":"2026-01-02T10:00:00Z","pull":1}'
    api.rows.append(row(36))
    pulls = list(connector.pulls(pulls[-1].state))
    assert ids(pulls) == [34, 36]  # the table has row 34 already, and leaves it out


@pytest.mark.parametrize(
    ("lag", "since"), [("90m", "2026-01-02T08:30:00Z"), (1800, "2026-01-02T09:30:00Z"), (0, "2026-01-02T10:00:00Z")]
)
def test_goes_back_by_the_lag(connect: Open, api: HostileApi, lag: object, since: str) -> None:
    connector = connect(incremental={**INCREMENTAL, "lag": lag})
    list(connector.pulls('{"cursor":"2026-01-02T10:00:00Z","pull":7}'))
    assert since.replace(":", "%3A") in api.asked[0]


@pytest.mark.parametrize(("lag", "since"), [(3, 31), (0, 34)])
def test_a_cursor_may_be_a_number(connect: Open, api: HostileApi, lag: int, since: int) -> None:
    api.since = lambda one, text: one["id"] >= int(text)
    connector = connect(incremental={"cursor_path": "$.id", "start_param": "since", "lag": lag})
    state = list(connector.pulls(None))[-1].state
    assert state == '{"cursor":34,"pull":1}'
    assert read(connector, state) == list(range(since, 35))


def test_the_cursor_moves_only_at_the_end_of_a_sweep(connect: Open) -> None:
    pulls = list(connect(batch_rows=10, incremental=INCREMENTAL).pulls(None))
    assert [pull.state for pull in pulls[:-1]] == ['{"pull":1}', '{"pull":2}', '{"pull":3}']
    assert "2026-01-02T10:00:00Z" in pulls[-1].state


def test_the_cursor_moves_with_each_pull_when_the_rows_are_in_order(connect: Open, api: HostileApi) -> None:
    incremental = {**INCREMENTAL, "row_order": "asc"}
    first = next(connect(batch_rows=10, incremental=incremental).pulls(None))
    assert first.state == '{"cursor":"2026-01-01T09:00:00Z","pull":1}'
    api.order = lambda rows: list(reversed(rows))
    with pytest.raises(DataError, match="less than that of the row before; expected an ascending order"):
        read(connect(incremental=incremental))


@pytest.mark.parametrize("order", [sorted, reversed, lambda rows: rows[5:] + rows[:5]])
def test_the_greatest_cursor_counts_in_any_order(connect: Open, api: HostileApi, order: Any) -> None:
    api.order = lambda rows: list(order(rows)) if order is not sorted else rows
    pulls = list(connect(incremental=INCREMENTAL, batch_rows=10).pulls(None))
    assert sorted(ids(pulls)) == list(range(35))
    assert "2026-01-02T10:00:00Z" in pulls[-1].state


def test_the_cursor_never_goes_back(connect: Open, api: HostileApi) -> None:
    api.since = lambda one, since: True
    state = '{"cursor":"2026-02-01T00:00:00Z","pull":3}'
    pulls = list(connect(incremental=INCREMENTAL).pulls(state))
    assert pulls[-1].state == '{"cursor":"2026-02-01T00:00:00Z","pull":4}'


def test_a_cursor_far_ahead_does_not_move_it(connect: Open, api: HostileApi) -> None:
    api.rows.append({**row(35), "updated_at": "9999-01-01T00:00:00Z"})
    pulls = list(connect(incremental=INCREMENTAL).pulls(None))
    assert ids(pulls)[-1] == 35
    assert '"2026-01-02T10:00:00Z"' in pulls[-1].state


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "has no 'updated_at'"),
        ("soon", "is 'soon'; expected a number or a time in ISO 8601"),
        (7, "is a time and was a number"),
    ],
)
def test_names_a_row_without_a_cursor(connect: Open, api: HostileApi, value: object, text: str) -> None:
    api.rows[3]["updated_at"] = value
    with pytest.raises(DataError, match=rf"cursor: row 4: .*{text}"):
        read(connect(incremental=INCREMENTAL))


def test_rows_without_a_cursor_may_be_included(connect: Open, api: HostileApi) -> None:
    api.rows[3]["updated_at"] = None
    assert len(read(connect(incremental={**INCREMENTAL, "on_cursor_value_missing": "include"}))) == 35


def test_sends_each_kind_of_credentials(connect: Open, api: HostileApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS", "s3cret/+")
    word = secret("ORDERS")
    read(connect("link", auth={"type": "bearer", "token": word}))
    assert {each["Authorization"] for each in api.headers} == {"Bearer s3cret/+"}
    api.headers.clear()
    read(connect("link", auth={"type": "http_basic", "username": "me", "password": word}))
    assert {each["Authorization"] for each in api.headers} == {"Basic bWU6czNjcmV0Lys="}
    api.headers.clear()
    read(connect("link", auth={"type": "api_key", "name": "X-Key", "api_key": word}))
    assert {each["X-Key"] for each in api.headers} == {"s3cret/+"}
    api.asked.clear()
    read(connect("link", auth={"type": "api_key", "name": "k", "api_key": word, "location": "query"}))
    assert all(asked.count("k=s3cret%2F%2B") == 1 for asked in api.asked)


def test_no_message_shows_a_secret(connect: Open, api: HostileApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS", "s3cret/+")
    auth = {"type": "api_key", "name": "sig", "api_key": secret("ORDERS"), "location": "query"}
    for fault in ("404", *["html"] * ATTEMPTS):
        api.faults.append(fault)
    for _ in range(2):
        with pytest.raises((Refused, SourceUnavailable)) as error:
            read(connect("link", auth=auth, headers={"X-Other": f"a {secret('ORDERS')}"}))
        assert "s3cret" not in str(error.value)
        assert "sig=***" in str(error.value)
    (pull,) = connect("all", auth=auth).pulls(None)
    assert "s3cret" not in pull.label


def test_names_a_secret_that_is_not_set(connect: Open) -> None:
    with pytest.raises(StageError, match=r"RESTSource 'orders': the environment variable ORDERS_TOKEN is not set"):
        connect(auth={"type": "bearer", "token": secret("ORDERS_TOKEN")})


@pytest.fixture
def oauth(connect: Open, api: HostileApi, monkeypatch: pytest.MonkeyPatch) -> RestConnector:
    monkeypatch.setenv("CLIENT_SECRET", "s3cret")
    api.valid_tokens = {"none yet"}
    auth = {
        "type": "oauth2_client_credentials",
        "access_token_url": f"{api.url}/token",
        "client_id": "me",
        "client_secret": secret("CLIENT_SECRET"),
    }
    return connect("link", auth=auth)


def test_fetches_a_token_once(oauth: RestConnector, api: HostileApi) -> None:
    assert read(oauth) == list(range(35))
    assert api.tokens == ["token-0"]


def test_fetches_a_new_token_when_the_old_one_ends(oauth: RestConnector, api: HostileApi) -> None:
    api.expires_in = 0
    assert read(oauth) == list(range(35))
    assert len(api.tokens) == 4


def test_fetches_a_new_token_when_the_server_refuses_the_old_one(oauth: RestConnector, api: HostileApi) -> None:
    def expire(page: int) -> None:
        if page == 1:
            api.valid_tokens = {"another"}

    api.before_page = expire
    assert read(oauth) == list(range(35))
    assert len(api.tokens) == 2


def test_names_a_token_service_that_refuses(oauth: RestConnector, api: HostileApi) -> None:
    api.faults = ["token 500", "token refused"]
    with pytest.raises(DataError, match=r"OAuth2: expected an access_token from .*/token, got 401 .*invalid_client"):
        read(oauth)


def test_sends_a_body(connect: Open, api: HostileApi) -> None:
    paginator = {"type": "cursor", "cursor_path": "next_cursor", "cursor_body_path": "after"}
    assert read(connect(method="POST", json={"kind": "all"}, paginator=paginator)) == list(range(35))


def test_says_what_the_first_page_has(connect: Open, api: HostileApi) -> None:
    assert connect("link").check() == f"10 rows on the first page, {api.url}/link"


def test_refuses_a_wrong_path(connect: Open) -> None:
    with pytest.raises(DefinitionError, match="RESTSource 'orders': data_selector or paginator"):
        connect(data_selector="a[")
