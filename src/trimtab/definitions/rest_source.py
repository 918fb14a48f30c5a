"""A source of rows that a REST API answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from trimtab.definitions.arguments import check_text
from trimtab.definitions.secrets import Secret
from trimtab.definitions.sources import Source
from trimtab.errors import DefinitionError, nearest
from trimtab.units import MICROS, micros

PAGINATORS: Mapping[str, frozenset[str]] = {
    "auto": frozenset(),
    "single_page": frozenset(),
    "header_link": frozenset({"links_next_key"}),
    "json_link": frozenset({"next_url_path"}),
    "header_cursor": frozenset({"cursor_key", "cursor_param"}),
    "cursor": frozenset({"cursor_path", "cursor_param", "cursor_body_path", "stop_after_empty_page", "has_more_path"}),
    "offset": frozenset(
        {
            "limit",
            "offset",
            "offset_param",
            "offset_body_path",
            "limit_param",
            "limit_body_path",
            "total_path",
            "maximum_offset",
            "stop_after_empty_page",
            "has_more_path",
        }
    ),
    "page_number": frozenset(
        {
            "base_page",
            "page",
            "page_param",
            "page_body_path",
            "total_path",
            "maximum_page",
            "stop_after_empty_page",
            "has_more_path",
        }
    ),
}
"""Paging style -> its keys, all of them named as in dlt's rest_api."""
AUTHENTICATIONS: Mapping[str, tuple[frozenset[str], frozenset[str], frozenset[str]]] = {
    "bearer": (frozenset({"token"}), frozenset(), frozenset({"token"})),
    "api_key": (frozenset({"api_key"}), frozenset({"name", "location"}), frozenset({"api_key"})),
    "http_basic": (frozenset({"username", "password"}), frozenset(), frozenset({"password"})),
    "oauth2_client_credentials": (
        frozenset({"access_token_url", "client_id", "client_secret"}),
        frozenset({"access_token_request_data", "default_token_expiration"}),
        frozenset({"client_secret"}),
    ),
}
"""Kind of authentication -> keys that it needs, further keys, and keys whose value must be a secret."""
INCREMENTAL = frozenset({"cursor_path", "start_param", "initial_value", "lag", "row_order", "on_cursor_value_missing"})
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "row_order": ("asc",),
    "on_cursor_value_missing": ("raise", "include"),
    "location": ("header", "query", "param"),
}
_RATE = re.compile(r"\s*([0-9]+)\s*/\s*([a-z]+)\s*")


@dataclass(frozen=True)
class RESTSource(Source):
    """Rows that a REST API answers, page by page.

    Each row is taken once: a row that equals an earlier one in all columns is the same row. Nested objects become
    columns such as `customer__city`, lists become JSON text. The arguments have the names that dlt's rest_api gives
    them.

    Args:
        name: letters, digits and single underscores.
        url: the base URL of the API, such as "https://api.example.com/v1"; it holds no credentials.
        path: of the endpoint, below `url`.
        timestamp, known_at, key, dtypes, time_unit, date_format, time_zone, description, owner, tags, pii: as in
            `Source`; nested columns by their joined name.
        method: "GET", or "POST" with a body of `json`.
        params: parameters of the query; a value may be a tt.secret.
        headers: headers of each request; a value may be a tt.secret.
        json: body of a POST request.
        data_selector: JSONPath of the rows in an answer, such as "data.items"; None: found in the first answer.
        paginator: paging style, such as "header_link" or {"type": "cursor", "cursor_path": "next",
            "cursor_param": "after"}. Styles: header_link, json_link, cursor, header_cursor, offset, page_number,
            single_page; None or "auto": recognised from the first answer.
        auth: {"type": "bearer", "token": tt.secret("TOKEN")}, or the type api_key, http_basic or
            oauth2_client_credentials.
        incremental: {"cursor_path": "updated_at", "start_param": "since"} asks only for rows from the greatest value
            of the last ingest on. initial_value: the first start. lag: how far to go back, a duration such as "2h" for
            times, a number for numbers; rows that came before are not taken again. row_order "asc": the API promises
            rows in this order, so that an ingest that was killed goes on within the pages. on_cursor_value_missing:
            "raise" or "include". None: each ingest reads all pages.
        rate_limit: most requests, such as "5/s" or "100/m".
        batch_rows: rows that become one version of the table; pages are put together up to this number.

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> orders = tt.RESTSource(
    ...     "orders",
    ...     "https://api.example.com/v1",
    ...     "orders",
    ...     timestamp="created_at",
    ...     known_at="updated_at",
    ...     key=["id"],
    ...     paginator={"type": "cursor", "cursor_path": "next", "cursor_param": "after"},
    ...     auth={"type": "bearer", "token": tt.secret("ORDERS_TOKEN")},
    ...     incremental={"cursor_path": "updated_at", "start_param": "since", "lag": "5m"},
    ... )
    >>> orders.known_column
    'updated_at'
    """

    url: str
    path: str = ""
    method: Literal["GET", "POST"] = field(default="GET", kw_only=True)
    params: Mapping[str, Any] = field(default_factory=dict, kw_only=True, hash=False)
    headers: Mapping[str, Any] = field(default_factory=dict, kw_only=True, hash=False)
    json: Mapping[str, Any] | None = field(default=None, kw_only=True, hash=False)
    data_selector: str | None = field(default=None, kw_only=True)
    paginator: str | Mapping[str, Any] | None = field(default=None, kw_only=True, hash=False)
    auth: Mapping[str, Any] | None = field(default=None, kw_only=True, hash=False)
    incremental: Mapping[str, Any] | None = field(default=None, kw_only=True, hash=False)
    rate_limit: str | None = field(default=None, kw_only=True)
    batch_rows: int = field(default=10_000, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        where = self.where
        check_text(f"{where}: url", self.url, "https://api.example.com/v1")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DefinitionError(f"{where}: url is '{self.url}'; expected such as 'https://api.example.com/v1'")
        if parts.username is not None or parts.password is not None:
            raise DefinitionError(f"{where}: url holds credentials; expected them in auth, by tt.secret('NAME')")
        if not isinstance(self.path, str) or urlsplit(self.path).netloc:
            raise DefinitionError(f"{where}: path is {self.path!r}; expected a path below url, such as 'orders'")
        if self.method not in ("GET", "POST"):
            raise DefinitionError(f"{where}: method is {self.method!r}; expected 'GET' or 'POST'")
        if self.json is not None and self.method != "POST":
            raise DefinitionError(f"{where}: json is the body of a POST request; expected method='POST'")
        if self.data_selector is not None:
            check_text(f"{where}: data_selector", self.data_selector, "data.items")
        if not isinstance(self.batch_rows, int) or self.batch_rows < 1:
            raise DefinitionError(f"{where}: batch_rows is {self.batch_rows!r}; expected a number such as 10_000")
        self._check_paginator(f"{where}: paginator")
        self._check_auth(f"{where}: auth")
        self._check_incremental(f"{where}: incremental")
        _ = self.micros_between_requests

    @property
    def drops_equal_rows(self) -> bool:
        """True: pages and sweeps give rows again."""
        return True

    @property
    def origin(self) -> str:
        """URL and path."""
        return f"{self.url.rstrip('/')}/{self.path.lstrip('/')}"

    @property
    def paging(self) -> Mapping[str, Any]:
        """The paginator with its type."""
        if self.paginator is None or isinstance(self.paginator, str):
            return {"type": self.paginator or "auto"}
        return {"type": "auto", **self.paginator}

    @property
    def micros_between_requests(self) -> int:
        """Shortest time between two requests, in microseconds; 0 without a rate limit. Raises DefinitionError."""
        if self.rate_limit is None:
            return 0
        found = _RATE.fullmatch(self.rate_limit) if isinstance(self.rate_limit, str) else None
        if found is None or found[2] not in MICROS or int(found[1]) == 0:
            raise DefinitionError(
                f"{self.where}: rate_limit is {self.rate_limit!r}; expected such as '5/s', '100/m' or '1000/h'"
            )
        return MICROS[found[2]] // int(found[1])

    def _check_paginator(self, where: str) -> None:
        if self.paginator is not None and not isinstance(self.paginator, str | Mapping):
            raise DefinitionError(f"{where} is {self.paginator!r}; expected such as 'header_link'")
        given = dict(self.paging)
        kind = given.pop("type")
        if kind not in PAGINATORS:
            raise DefinitionError(f"{where}: type is {kind!r}.{nearest(str(kind), PAGINATORS)}")
        _check_keys(f"{where} '{kind}'", given, PAGINATORS[kind])
        if kind == "offset" and not _is_count(given.get("limit")):
            raise DefinitionError(f"{where} 'offset': limit is {given.get('limit')!r}; expected the rows of a page")

    def _check_auth(self, where: str) -> None:
        if self.auth is None:
            return
        if not hasattr(self.auth, "items"):
            expected = "{'type': 'bearer', 'token': tt.secret('TOKEN')}"
            raise DefinitionError(f"{where} is not a mapping; expected {expected}")
        given = dict(self.auth)
        kind = given.pop("type", "bearer")
        if kind not in AUTHENTICATIONS:
            raise DefinitionError(f"{where}: type is {kind!r}.{nearest(str(kind), AUTHENTICATIONS)}")
        needed, further, secret = AUTHENTICATIONS[kind]
        _check_keys(f"{where} '{kind}'", given, needed | further)
        for key in sorted(needed - set(given)):
            raise DefinitionError(f"{where} '{kind}': '{key}' is missing")
        for key in sorted(secret):
            if not isinstance(given[key], Secret):
                raise DefinitionError(
                    f"{where} '{kind}': {key} stands in the definition; expected tt.secret('NAME'), which reads the "
                    "environment variable NAME"
                )

    def _check_incremental(self, where: str) -> None:
        if self.incremental is None:
            return
        if not isinstance(self.incremental, Mapping):
            raise DefinitionError(
                f"{where} is {self.incremental!r}; expected {{'cursor_path': 'updated_at', 'start_param': 'since'}}"
            )
        given = self.incremental
        _check_keys(where, given, INCREMENTAL)
        for key, example in (("cursor_path", "updated_at"), ("start_param", "since")):
            check_text(f"{where}: {key}", given.get(key), example)
        lag = given.get("lag", 0)
        if isinstance(lag, str):
            try:
                micros(lag)
            except ValueError as error:
                raise DefinitionError(f"{where}: lag: {error}") from None
        elif isinstance(lag, bool) or not isinstance(lag, int | float) or lag < 0:
            raise DefinitionError(f"{where}: lag is {lag!r}; expected a duration such as '2h', or a number")


def _check_keys(where: str, given: Mapping[str, Any], valid: frozenset[str]) -> None:
    for key, value in given.items():
        if key not in valid:
            raise DefinitionError(f"{where} has no key '{key}'.{nearest(str(key), valid)}")
        choices = _CHOICES.get(key)
        if choices is not None and value not in choices:
            raise DefinitionError(f"{where}: {key} is {value!r}; expected one of {', '.join(choices)}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
